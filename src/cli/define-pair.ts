import type { Command } from 'commander';
import { addCommand } from './define.ts';
import type { PairCommandOptions } from './pair-command.ts';
import type { Style } from './style.ts';

/** The command `pair`, which runs on the other side: where Home Assistant is. */
export function definePair(
  program: Command,
  { style, finish }: { style: () => Style; finish: (exitCode: number) => void },
): void {
  addCommand(program, 'pair', 'find a device, pair with it where that is needed, and hold the tunnel')
    .argument('[host]', 'instance name, host name or address, with :PORT of the tunnel (default: look for one by mDNS)')
    .option('--identity <file>', 'private key; made where it is missing (default: ~/.config/zeroforce/id_ed25519)')
    .option('--forward <spec>', '[ADDRESS:]PORT:HOST:HOSTPORT, repeatable (default: 13240:localhost:3240)', collect)
    .option('--user <name>', 'user on the device', 'root')
    .option('--pin [pin]', 'ask for the PIN; better not given here, where others can see it')
    .option('--pin-file <file>', 'file with the PIN; or set ZEROFORCE_PIN')
    .option('--http-port <port>', 'port of the pairing routes (default: as announced, else 5000)')
    .option('--tunnel-port <port>', 'port of the tunnel (default: as announced, else 8007)')
    .option('--once', 'pair, check that the key is accepted, and end')
    .option('--json', 'print one JSON object for each event')
    .addHelpText(
      'after',
      `
Exit codes:
  0   done, with --once
  1   failed
  2   the command line was wrong
  3   no device was found, or it does not answer
  4   several devices were found, and nobody is there to choose
  5   the PIN is missing or wrong
  6   what answers is not the device: another host key, or it does not know the PIN
  7   the device does not accept the key
  8   a local port is taken
  130, 143  ended by SIGINT, SIGTERM

Examples:
  tunnel-agent pair
  tunnel-agent pair beamer --once
  tunnel-agent pair 192.168.1.20 --forward 13240:localhost:3240 --forward 15000:localhost:5000
  tunnel-agent pair --identity /data/id_rsa --pin-file /data/pin --json`,
    )
    .action(async (host: string | undefined, options: PairCommandOptions) => {
      const { pairCommand } = await import('./pair-command.ts'); // no other command needs what it loads
      finish(await pairCommand(host, options, style()));
    });
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}
