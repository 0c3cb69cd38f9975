import { ipv4 } from './addresses.ts';
import type { Step, Verdict } from './model.ts';

// What the targets of iptables (-j) do with a packet (iptables-extensions(8)).

/** The words of each option, without the dashes of its name. */
export type Options = ReadonlyMap<string, readonly string[]>;

const verdict = (of: Verdict): readonly Step[] => [{ kind: 'verdict', verdict: of }];

const ACCEPTS = ['ACCEPT', 'SNAT', 'MASQUERADE'];
/** They write something down or change what no rule of ours asks for, and the packet goes on. */
const GOES_ON = new Set([
  ...['AUDIT', 'CHECKSUM', 'CLASSIFY', 'CONNSECMARK', 'DSCP', 'ECN', 'HL', 'IDLETIMER', 'LED', 'LOG', 'NFLOG'],
  ...['RATEEST', 'SECMARK', 'SET', 'TCPMSS', 'TCPOPTSTRIP', 'TEE', 'TOS', 'TRACE', 'TTL', 'ULOG'],
]);

/** @param options null where they are not known */
export function targetSteps(target: string, options: Options | null): readonly Step[] {
  if (ACCEPTS.includes(target)) return verdict({ kind: 'accept' });
  if (GOES_ON.has(target)) return [];
  switch (target) {
    case 'DROP':
      return verdict({ kind: 'drop' });
    case 'REJECT':
      return verdict({ kind: 'reject' });
    case 'RETURN':
      return verdict({ kind: 'return' });
    case 'NOTRACK':
      return [{ kind: 'untrack' }];
    case 'CT':
      if (options === null) return [{ kind: 'set', field: 'ctstate', value: null }];
      return options.has('notrack') ? [{ kind: 'untrack' }] : [];
    case 'MARK':
      return [{ kind: 'set', field: 'mark', value: markOf(options) }];
    case 'CONNMARK':
      if (options?.has('restore-mark'))
        return [{ kind: 'set', field: 'mark', value: options.size === 1 ? 'ctmark' : null }];
      return [{ kind: 'set', field: 'ctmark', value: options?.size === 1 && options.has('save-mark') ? 'mark' : null }];
    case 'REDIRECT':
    case 'DNAT':
      return verdict(divertOf(options));
    default:
      return verdict({ kind: 'unknown' });
  }
}

/** The new mark where it does not depend on the old one. */
function markOf(options: Options | null): bigint | null {
  const [, value] =
    /^(0x[\da-f]+|\d+)(?:\/0xffffffff)?$/i.exec(
      options?.get('set-xmark')?.[0] ?? options?.get('set-mark')?.[0] ?? '',
    ) ?? [];
  return value === undefined ? null : BigInt(value);
}

/** `--to-ports 2222` or `--to-destination 10.0.0.1:22`. */
function divertOf(options: Options | null): Verdict {
  const unknown: Verdict = { kind: 'divert', address: null, port: null, known: false };
  if (options === null || options.has('random')) return unknown;
  const [port] = options.get('to-ports') ?? [];
  const [destination] = options.get('to-destination') ?? [];
  if (port !== undefined) return /^\d+$/.test(port) ? { ...unknown, port: BigInt(port), known: true } : unknown;
  if (destination === undefined) return { ...unknown, known: true };
  const [host = '', at] = destination.split(':');
  const address = host === '' ? null : ipv4(host);
  if ((host !== '' && address === null) || (at !== undefined && !/^\d+$/.test(at))) return unknown;
  return { kind: 'divert', address, port: at === undefined ? null : BigInt(at), known: true };
}
