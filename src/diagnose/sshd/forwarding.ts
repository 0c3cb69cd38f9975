import type { KeyForwarding } from './authorized-keys.ts';
import type { EffectiveConfig } from './effective.ts';

/** What keeps a client from a target on this machine. */
export type ForwardingFault =
  | { readonly reason: 'off'; readonly because: string }
  | { readonly reason: 'keyOff'; readonly because: string }
  /** `otherName`: the target is in the list under its other name, which sshd takes for another target. */
  | {
      readonly reason: 'notListed' | 'otherName';
      readonly list: 'config' | 'key';
      readonly target: string;
      readonly because: string;
    };

/** Whether `ssh -L` may work at all with this configuration; null where it may. */
export function forwardingOff(config: EffectiveConfig): string | null {
  if (config.isYes('disableforwarding')) return config.lines('disableforwarding');
  // `all` and `yes` are the same, as are `no` and `none`; `remote` is the other direction.
  return ['yes', 'all', 'local', ''].includes(config.get('allowtcpforwarding'))
    ? null
    : config.lines('allowtcpforwarding');
}

/**
 * Whether a client may open each of the ports under the name that it uses. Both lists apply, that of the configuration
 * and that of the key, and each is compared as text (OpenSSH, channels.c, open_match). Pure.
 *
 * @param key of the client; null where it is not known
 * @param host as the client writes it
 */
export function judgeForwarding(
  config: EffectiveConfig,
  key: KeyForwarding | null,
  host: string,
  ports: readonly number[],
): ForwardingFault | null {
  const off = forwardingOff(config);
  if (off !== null) return { reason: 'off', because: off };
  if (key !== null && !key.allowed) return { reason: 'keyOff', because: 'the options of the key' };
  const lists = [
    ['config', configList(config)],
    ['key', key?.permitOpen ?? null],
  ] as const;
  for (const port of ports) {
    for (const [list, entries] of lists) {
      if (entries === null || entries.some((entry) => permits(entry, host, port))) continue;
      const names = ['localhost', '127.0.0.1', '[::1]'];
      const reason = entries.some((entry) => names.some((name) => permits(entry, name, port)))
        ? 'otherName'
        : 'notListed';
      const because = list === 'config' ? config.lines('permitopen') : `permitopen of the key: ${entries.join(' ')}`;
      return { reason, list, target: `${host}:${port}`, because };
    }
  }
  return null;
}

/** Null where everything may be opened. */
function configList(config: EffectiveConfig): string[] | null {
  const words = config.words('permitopen');
  return words.length === 0 || words.includes('any') ? null : words;
}

function permits(entry: string, host: string, port: number): boolean {
  const [, name = '', number = ''] = /^(.*):(\d+|\*)$/.exec(entry) ?? [];
  return (number === '*' || Number(number) === port) && (name === '*' || name === host);
}
