/** What a line of `ssh -v` says, as far as it matters here. */
export type LogEvent =
  /** One more address of the server is being tried. */
  | { kind: 'connecting' }
  | { kind: 'connected' }
  /** A line in front of the server's greeting, which is allowed: OpenSSH gives a reason for closing there. */
  | { kind: 'before-banner'; text: string }
  /** The server has greeted, and speaks SSH. */
  | { kind: 'banner' }
  | { kind: 'host-key'; type: string; fingerprint: string }
  /** Another key is known, or none of this type. */
  | { kind: 'host-key-refused' }
  | { kind: 'authenticated' }
  /** Every local forward stands, and all requests for remote ones are on their way. */
  | { kind: 'interactive' }
  /** The next remote forward stands, in the order of the requests. */
  | { kind: 'remote-forward'; port: number }
  | { kind: 'remote-forward-refused' }
  /** One of the addresses of a local forward is not to be had. */
  | { kind: 'bind-failed'; port: number; why: string }
  /** None of them is. */
  | { kind: 'local-forward-failed'; port: number }
  | { kind: 'stream-opened'; id: number }
  | { kind: 'stream-closed'; id: number }
  /** A connection through a remote forward stands at our end. */
  | { kind: 'target-reached'; port: number }
  /** A connection through a forward came to nothing, at our end, where the port is known, or at the other. */
  | { kind: 'target-failed'; sentence: string; port: number | null }
  /** The server said goodbye, with its reason. */
  | { kind: 'disconnected'; reason: string }
  | { kind: 'identity-unusable'; sentence: string }
  /** Why ssh ends; `other` is any line of no known shape that is no debugging. */
  | { kind: 'trouble'; trouble: Trouble; sentence: string }
  | { kind: 'nothing' };

export type Trouble =
  | 'dns'
  | 'refused'
  | 'unreachable'
  | 'timeout'
  | 'silent'
  | 'not-ssh'
  | 'no-common'
  | 'auth-refused'
  | 'closed'
  | 'reset'
  | 'peer-dead'
  | 'other';

type Reader = (match: RegExpExecArray) => LogEvent;
type Table = readonly (readonly [RegExp, Reader])[];

/** What OpenSSH 8.4 to 10.5 says at the level DEBUG1. */
const DEBUG: Table = [
  [/^debug1: Connecting to \S+ \[[^\]]+\] port \d+\.$/, () => ({ kind: 'connecting' })],
  [/^debug1: Connection established\.$/, () => ({ kind: 'connected' })],
  [
    /^debug1: kex_exchange_identification: banner line \d+: (.*)$/,
    ([, text = '']) => ({ kind: 'before-banner', text }),
  ],
  [/^debug1: Remote protocol version /, () => ({ kind: 'banner' })],
  [
    /^debug1: Server host key: (\S+) (SHA256:\S+)$/,
    ([, type = '', fingerprint = '']) => ({ kind: 'host-key', type, fingerprint }),
  ],
  [/^debug1: Authentication succeeded \(/, () => ({ kind: 'authenticated' })],
  [/^debug1: Entering interactive session\.$/, () => ({ kind: 'interactive' })],
  [/^debug1: remote forward failure for: /, () => ({ kind: 'remote-forward-refused' })],
  [
    /^debug1: channel (\d+): new \[?(?:forwarded|direct)-tcpip\b/,
    ([, id]) => ({ kind: 'stream-opened', id: Number(id) }),
  ],
  [
    /^debug1: channel \d+: connected to \S+ port (\d+)$/,
    ([, port]) => ({ kind: 'target-reached', port: Number(port) }),
  ],
  [/^debug1: channel (\d+): free: /, ([, id]) => ({ kind: 'stream-closed', id: Number(id) })],
];

const trouble =
  (name: Trouble): Reader =>
  ({ input }) => ({ kind: 'trouble', trouble: name, sentence: input });

/**
 * What it says at any level, in the order in which it is looked for. Between two releases the part in front changes (the
 * name of a function comes or goes), so that not all of the patterns begin at the beginning.
 */
const TOLD: Table = [
  [/^Authenticated to /, () => ({ kind: 'authenticated' })],
  [/^Allocated port (\d+) for remote forward to /, ([, port]) => ({ kind: 'remote-forward', port: Number(port) })],
  [/^Host key for \S+ has changed and you have requested strict/, () => ({ kind: 'host-key-refused' })],
  [/^No \S+ host key is known for \S+ and you have requested strict/, () => ({ kind: 'host-key-refused' })],
  [/^bind \[[^\]]*\]:(\d+): (.*)$/, ([, port, why = '']) => ({ kind: 'bind-failed', port: Number(port), why })],
  [/: cannot listen to port: (\d+)$/, ([, port]) => ({ kind: 'local-forward-failed', port: Number(port) })],
  [
    /^connect_to \S+(?: port (\d+))?: /,
    ({ input, 1: port }) => ({
      kind: 'target-failed',
      sentence: input,
      port: port === undefined ? null : Number(port),
    }),
  ],
  [/^channel \d+: (open failed: .*)$/, ([, sentence = '']) => ({ kind: 'target-failed', sentence, port: null })],
  [/^Received disconnect from \S+ port \d+:\d+: ?(.*)$/, ([, reason = '']) => ({ kind: 'disconnected', reason })],
  [/^(?:Load key |no such identity: )/, ({ input }) => ({ kind: 'identity-unusable', sentence: input })],
  [/^ssh: Could not resolve hostname /, trouble('dns')],
  [/^ssh: connect to host .*: Connection refused$/, trouble('refused')],
  [/^ssh: connect to host .*: (?:Connection|Operation) timed out$/, trouble('timeout')],
  [/^ssh: connect to host .*: Connection reset by peer$/, trouble('reset')],
  [/^ssh: connect to host /, trouble('unreachable')],
  [/Connection timed out during banner exchange$/, trouble('silent')],
  [
    /banner line (?:contains invalid characters|too long)|No SSH version received|Bad remote protocol version|Protocol major versions differ/,
    trouble('not-ssh'),
  ],
  [/^Unable to negotiate with /, trouble('no-common')],
  [/: Permission denied \(.*\)\.$/, trouble('auth-refused')],
  [/^Timeout, server .* not responding\.$/, trouble('peer-dead')],
  [/Connection to \S+ port \d+ timed out$|: (?:Connection timed out|No route to host)$/, trouble('peer-dead')],
  [/[Cc]onnection reset by |Broken pipe$/, trouble('reset')],
  [/[Cc]losed by /, trouble('closed')],
  // The version at the beginning, the figures at the end, and the frame around other lines.
  [
    /^(?:OpenSSH_|@|Warning: Permanently added |Transferred: |Bytes per second: |Disconnected from |Host key verification failed)/,
    () => ({ kind: 'nothing' }),
  ],
  [/./, trouble('other')],
];

/** How much of a line is looked at; ssh says nothing that matters behind it, and a peer's words may be long. */
const LONGEST = 512;

/** Reads one line of what ssh writes to its standard error; null for what does not matter. Pure. */
export function parseLine(line: string): LogEvent | null {
  const text = line.slice(0, LONGEST).trimEnd();
  // What a server may put behind "debug1: " must not pass for what ssh tells of itself.
  for (const [pattern, read] of /^debug\d: /.test(text) ? DEBUG : TOLD) {
    const match = pattern.exec(text);
    if (match === null) continue;
    const event = read(match);
    return event.kind === 'nothing' ? null : event;
  }
  return null;
}
