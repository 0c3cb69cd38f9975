import type { Config } from '../../config/types.ts';
import { readSmallFile } from '../../support/small-file.ts';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { holders, KEY_FILE_MAX_BYTES } from '../probes/credentials.ts';
import { logins } from '../probes/logins.ts';
import type { Role } from '../probes/sshd.ts';
import { logged } from '../probes/sshd-log.ts';
import { authorizedKeys, forwardingOf, type KeyForwarding } from '../sshd/authorized-keys.ts';
import { forwardingOff, judgeForwarding } from '../sshd/forwarding.ts';
import { NAMES, reloadOf, serverOf } from './sshd-role.ts';

/** USB/IP, which the paired tunnel is for. */
const USB_PORT = 3240;
/** As the deployed clients write it. */
const CLIENT_WRITES = 'localhost';

const check = (role: Role) => {
  const symptom = 'The SSH session stands, and nothing comes through it: administratively prohibited, open failed.';
  const fails = (meaning: string, remedy: string) => ({ status: 'fail', symptom, meaning, remedy }) as const;
  return defineCheck({
    id: `${role}.forwarding`,
    title: `${NAMES[role]} forwards what is needed`,
    dependsOn: [`${role}.config`],
    findings: {
      off: fails(
        'sshd forwards no connection for {user}: {because}.',
        'Write AllowTcpForwarding local (and no DisableForwarding) into {file}, also in its Match blocks, then run: {reload}',
      ),
      keyOff: fails(
        'The options of the paired key in {keyFile} forbid forwarding.',
        'Add port-forwarding to them, in ZEROFORCE_KEY_OPTIONS, then pair again',
      ),
      notListed: fails(
        'sshd forwards nothing to {target}: its list in {where} leaves that out.',
        'Add {target} to the list in {where}; both lists apply, that of the configuration and that of the key',
      ),
      otherName: fails(
        'sshd forwards nothing to {target}: the list in {where} has it under another name, and the names are compared as text.',
        'Write both names into the list in {where}, and into the one of the key: localhost and 127.0.0.1',
      ),
      apiNotListed: {
        status: 'warn',
        symptom: 'The paired tunnel stands, and the client cannot ask which USB devices there are.',
        meaning: 'sshd forwards nothing to {target}, the local API: the list in {where} leaves that name out.',
        remedy: 'Add {target} to the list in {where}',
      },
      notKnown: {
        status: 'unknown',
        symptom: 'Only root can ask sshd what it forwards.',
        meaning: 'Whether sshd forwards is not known: {why}.',
        remedy: 'Run this as root: sudo tunnel-agent diagnose',
      },
    },
    async run(facts, say) {
      const { server, nothing } = await serverOf(facts, role, say);
      if (nothing !== null) return nothing;
      const able = (await facts.get(holders(role)))[0]?.login;
      const login = able ?? (await facts.get(logins(role)))[0];
      if (login === undefined) return say.skip('nobody logs in');
      const { config, access, name: user, command } = login;
      const file = server.configFile;
      const reload = await reloadOf(facts, role, server);
      if (config === null) {
        return say.found('notKnown', { why: access.kind === 'unknown' ? access.because : 'sshd was not asked' });
      }
      const evidence = `${command}: ${config.lines('allowtcpforwarding', 'disableforwarding', 'permitopen')}`;
      const { options } = facts;
      if (role === 'sshd' && !server.servesPaired) {
        const off = forwardingOff(config);
        if (off === null) return say.ok('forwarding is allowed', evidence);
        const named = options.sshdConfig !== null || options.sshPort !== null || options.user !== null;
        if (named) return say.found('off', { user, because: off, file, reload }, evidence);
        return say.ok(`forwarding is off (${off}); a login does not need it`, evidence);
      }

      const key = await keyForwarding(facts);
      const keyFile = facts.config.pairing.authorizedKeysFile;
      const usb = isForUsb(facts.config) ? [USB_PORT] : [];
      const fault = judgeForwarding(config, key, CLIENT_WRITES, usb);
      if (fault !== null) {
        const log = await logged(facts, /the request was denied|refused local port forward/);
        if (fault.reason === 'off')
          return say.found('off', { user, because: fault.because, file, reload }, `${evidence}${log}`);
        if (fault.reason === 'keyOff') return say.found('keyOff', { keyFile }, `read ${keyFile}${log}`);
        const where = fault.list === 'config' ? file : keyFile;
        return say.found(fault.reason, { target: fault.target, where }, `${command}: ${fault.because}${log}`);
      }
      const api = judgeForwarding(config, key, CLIENT_WRITES, [facts.config.http.port]);
      if (api !== null && 'list' in api) {
        const where = api.list === 'config' ? file : keyFile;
        return say.found('apiNotListed', { target: api.target, where }, `${command}: ${api.because}`);
      }
      return say.ok(
        usb.length === 0 ? 'to the local API' : `to ${CLIENT_WRITES}:${USB_PORT} and the local API`,
        evidence,
      );
    },
  });
};

/** Not where the options that every paired key is given leave USB/IP out, as on a device that has none. */
function isForUsb({ pairing }: Config): boolean {
  const ports = [...(pairing.keyOptions ?? '').matchAll(/permitopen="[^"]*:(\d+|\*)"/g)].map(([, port]) => port);
  return ports.length === 0 || ports.some((port) => port === '*' || Number(port) === USB_PORT);
}

/** What the paired key may forward; null where there is none, or it cannot be read. */
async function keyForwarding({ config }: Facts): Promise<KeyForwarding | null> {
  const file = await readSmallFile(config.pairing.authorizedKeysFile, KEY_FILE_MAX_BYTES).catch(() => null);
  const [key] = authorizedKeys(file?.bytes.toString('utf8') ?? '');
  return key === undefined ? null : forwardingOf(key);
}

export const sshdForwarding = check('sshd');
export const pairedForwarding = check('paired');
