import { randomBytes } from 'node:crypto';
import { printable } from '../config/faults.ts';
import { Failure } from '../support/failures.ts';
import { readSmallFile } from '../support/small-file.ts';
import { type RestCommand, UsageError } from './gateway-define.ts';
import type { Rest } from './gateway-rest.ts';
import {
  addedText,
  blockedText,
  devicesText,
  deviceText,
  forwardsText,
  healthText,
  logsText,
  openText,
  pausedText,
  sessionsText,
  setupText,
} from './gateway-text.ts';

const device = (key: string | undefined) => `/api/devices/${deviceKey(key)}`;
const tunnel = (key: string | undefined) => `/api/tunnel/servers/${deviceKey(key)}`;

const TOKEN_FILE = '--token-code-file <file>';
const TOKEN_FILE_ABOUT = 'file with the Meeting token, its first line; - for standard input (default: one is made)';

/** Every command that asks the running gateway. */
export const REST_COMMANDS: readonly RestCommand[] = [
  {
    usage: 'device add',
    about: 'add a device, and print its key and Meeting token',
    options: {
      '--key <key>': 'device key (default: one is made)',
      [TOKEN_FILE]: `with --key: ${TOKEN_FILE_ABOUT}`,
      '--type <type>': 'what kind of device it is',
      '--distribution <name>': 'with --key: what runs on it',
      '--serial <serial>': 'with --key: its serial number',
    },
    examples: ['device add', 'device add --key beamer-7 --type beamer --distribution buildroot'],
    ask: (rest, _args, options) => addDevice(rest, options),
    text: addedText,
  },
  {
    usage: 'device list',
    about: 'list the devices, and whether they are connected',
    examples: ['device list', 'device list --json'],
    ask: (rest) => rest('GET /api/tunnel/overview'),
    text: devicesText,
  },
  {
    usage: 'device show <key>',
    about: 'show a device, its services and their ports',
    examples: ['device show beamer-7'],
    async ask(rest, [key]) {
      const [shown, status, session] = await Promise.all([
        rest(`GET ${device(key)}`),
        rest(`GET ${tunnel(key)}/status`),
        rest(`GET ${tunnel(key)}/session`),
      ]);
      return { device: shown, status, ...(session as object) };
    },
    text: deviceText,
  },
  {
    usage: 'device authorize <key>',
    about: 'let a device in again',
    examples: ['device authorize beamer-7'],
    ask: (rest, [key]) => rest(`PUT ${device(key)}/authorize`, { authorized: true }),
    text: (_answer, { args: [key] }) => `${key} is authorized.\n`,
  },
  {
    usage: 'device forbid <key>',
    about: 'end the session of a device and let it in no more, until it is authorized',
    examples: ['device forbid beamer-7'],
    ask: (rest, [key]) => rest(`PUT ${device(key)}/authorize`, { authorized: false }),
    text: (_answer, { args: [key] }) => `${key} is not authorized any more.\n`,
  },
  {
    usage: 'device remove <key>',
    about: 'remove a device: its session ends, its ports are free, its tokens are worth nothing',
    examples: ['device remove beamer-7', 'device remove beamer-7 --yes'],
    loss: 'This ends the session of the device, frees its ports, and makes its tokens worth nothing.',
    ask: (rest, [key]) => rest(`DELETE ${device(key)}`),
    text: (_answer, { args: [key] }) => `${key} was removed.\n`,
  },
  {
    usage: 'token show <key>',
    about: 'print the tunnel token of a device, made at the first time: the user name of its SSH connection',
    examples: ['token show beamer-7'],
    ask: (rest, [key]) => rest(`POST ${tunnel(key)}/token`),
    text: (answer) => `${(answer as { token: string }).token}\n`,
  },
  {
    usage: 'token rotate <key>',
    about: 'make another tunnel token and print it; the session with the old one ends',
    options: {
      '--meeting': 'the Meeting token instead',
      [TOKEN_FILE]: `with --meeting: ${TOKEN_FILE_ABOUT}`,
    },
    examples: ['token rotate beamer-7', 'token rotate beamer-7 --meeting --token-code-file -'],
    async ask(rest, [key], options) {
      if (options.meeting !== true) {
        if (options.tokenCodeFile !== undefined) refuse('--token-code-file needs --meeting');
        return rest(`POST ${tunnel(key)}/token?rotate=true`);
      }
      const given = options.tokenCodeFile === undefined ? {} : { token_code: await readToken(options.tokenCodeFile) };
      return rest(`PUT ${device(key)}/token-code`, given);
    },
    text(answer) {
      const { token, token_code } = answer as { token?: string; token_code?: string };
      return `${token ?? token_code}\n`;
    },
  },
  {
    usage: 'forwards set <key> <services...>',
    about: 'set the services of a device in the order of its -R requests: name=port, or name for its usual port',
    examples: ['forwards set beamer-7 ssh http', 'forwards set beamer-7 ssh=22 http=8080'],
    ask: (rest, [key, ...services]) => rest(`PUT ${tunnel(key)}/forwards`, { forwards: services.map(forward) }),
    text: forwardsText,
  },
  {
    usage: 'sessions',
    about: 'list the devices that are connected',
    examples: ['sessions', 'sessions --json'],
    async ask(rest) {
      const { items } = (await rest('GET /api/tunnel/overview')) as { items: { status?: unknown }[] };
      return { items: items.filter(({ status }) => status === 'online') };
    },
    text: sessionsText,
  },
  {
    usage: 'disconnect <key>',
    about: 'end the session of a device; it may come back at once',
    examples: ['disconnect beamer-7'],
    ask: (rest, [key]) => rest(`POST ${tunnel(key)}/disconnect`),
    text: (answer, { args: [key] }) =>
      (answer as { disconnected: boolean }).disconnected
        ? `The session of ${key} was ended.\n`
        : `${key} was not connected.\n`,
  },
  {
    usage: 'pause <key> <minutes>',
    about: 'end the session of a device and let it in again after some minutes',
    examples: ['pause beamer-7 30'],
    ask: (rest, [key, minutes]) => rest(`POST ${tunnel(key)}/pause`, { minutes: positive(minutes) }),
    text: pausedText,
  },
  {
    usage: 'resume <key>',
    about: 'let a paused device in at once',
    examples: ['resume beamer-7'],
    ask: (rest, [key]) => rest(`POST ${tunnel(key)}/resume`),
    text: (_answer, { args: [key] }) => `${key} is let in again.\n`,
  },
  {
    usage: 'open <key> <service>',
    about: 'open the public port of a service (ssh, scp, http, vnc, relay) and print what to type',
    options: { '--port <port>': 'the port on the device, for relay' },
    examples: ['open beamer-7 ssh', 'open beamer-7 relay --port 8080'],
    ask: (rest, [key, service], { port }) =>
      rest(`POST ${device(key)}/service`, { service, ...(port === undefined ? {} : { port: portOf(port) }) }),
    text: openText,
  },
  {
    usage: 'logs <key>',
    about: 'list what happened to a device, the newest last',
    examples: ['logs beamer-7'],
    ask: (rest, [key]) => rest(`GET ${tunnel(key)}/logs`),
    text: logsText,
  },
  {
    usage: 'ports blocked',
    about: 'list the ports that other programs have taken away; they are given to nobody',
    examples: ['ports blocked'],
    ask: (rest) => rest('GET /api/tunnel/ports/blocked'),
    text: blockedText,
  },
  {
    usage: 'ports release <port>',
    about: 'let a blocked port be given to devices again',
    examples: ['ports release 40012'],
    ask: (rest, [port]) => rest(`DELETE /api/tunnel/ports/blocked/${portOf(port)}`),
    text: (_answer, { args: [port] }) => `Port ${port} may be given again.\n`,
  },
  {
    usage: 'setup <key>',
    about: 'print how a device is set up that has an OpenSSH client and no agent; the token is in it',
    options: { '--script': 'print the script itself, for a device that cannot reach the REST interface' },
    examples: ['setup beamer-7', 'setup beamer-7 --script > setup.sh'],
    async ask(rest, [key], { script }) {
      const setup = (await rest(`GET ${tunnel(key)}/setup`)) as { setup_script_url: string };
      return script === true ? rest(`GET ${new URL(setup.setup_script_url).pathname}`) : setup;
    },
    text: (answer, context) => (typeof answer === 'string' ? answer : setupText(answer, context)),
  },
  {
    usage: 'health',
    about: 'ask the running gateway how it is',
    examples: ['health', 'health --json'],
    ask: (rest) => rest('GET /api/health'),
    text: healthText,
    failed: (answer) => !(answer as { ok: boolean }).ok,
  },
];

async function addDevice(rest: Rest, options: Parameters<RestCommand['ask']>[2]): Promise<unknown> {
  const { key, type = 'device', distribution = 'unknown', serial, tokenCodeFile } = options;
  if (key === undefined) {
    const needs = Object.entries({
      '--distribution': options.distribution,
      '--serial': serial,
      '--token-code-file': tokenCodeFile,
    });
    for (const [flag, value] of needs) if (value !== undefined) refuse(`${flag} needs --key`);
    return rest('POST /api/devices/generate-and-register', { device_type: type });
  }
  return rest('POST /api/devices/manual-create', {
    devicekey: deviceKey(key),
    token_code: tokenCodeFile === undefined ? randomBytes(TOKEN_BYTES).toString('hex') : await readToken(tokenCodeFile),
    device_type: type,
    distribution,
    ...(serial === undefined ? {} : { product_serial: serial }),
  });
}

/** As the gateway makes them. */
const TOKEN_BYTES = 16;
const TOKEN_INPUT_MAX_BYTES = 4 * 1024;

/** The first line of a file, or of standard input: arguments could be read by every user of the machine. */
async function readToken(file: string | true): Promise<string> {
  const bytes = file === '-' ? await readInput() : await readFileOf(String(file));
  const [first = ''] = bytes.toString('utf8').split('\n');
  const token = first.trim();
  if (token === '')
    throw new Failure('gateway.refused', `there is no token in ${file === '-' ? 'standard input' : file}`);
  return token;
}

async function readFileOf(path: string): Promise<Buffer> {
  try {
    return (await readSmallFile(path, TOKEN_INPUT_MAX_BYTES)).bytes;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure('gateway.refused', `the token in ${path} cannot be read: ${why}`, { cause: error });
  }
}

async function readInput(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > TOKEN_INPUT_MAX_BYTES || chunk.includes('\n')) break;
  }
  return Buffer.concat(chunks).subarray(0, TOKEN_INPUT_MAX_BYTES);
}

/** What means nothing else in a path. */
function deviceKey(text: string | true | undefined): string {
  const key = String(text);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(key)) {
    refuse(`${printable(key)} is no device key: 1 to 64 letters, digits, dots, _ and -, a letter or digit first`);
  }
  return key;
}

function forward(text: string): { service_name: string; local_port: number | null } {
  const [, name = '', port] = /^([a-z0-9_-]{1,32})(?:=(.*))?$/.exec(text) ?? [];
  if (name === '') refuse(`${printable(text)} is no service: write name=port, for example http=80`);
  return { service_name: name, local_port: port === undefined ? null : portOf(port) };
}

function portOf(text: string | true | undefined): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(String(text)) || port < 1 || port > 65535) refuse(`a port is a whole number from 1 to 65535`);
  return port;
}

function positive(text = ''): number {
  const minutes = Number(text);
  if (!/^\d*\.?\d+$/.test(text) || !(minutes > 0)) refuse('the minutes are a number above 0');
  return minutes;
}

function refuse(sentence: string): never {
  throw new UsageError(sentence);
}
