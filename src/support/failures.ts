/**
 * Every failure that a technician can see, by name. The names are the vocabulary of the logs, of `status` and of
 * `diagnose`; the sentence of a concrete failure says which thing and why, the remedy here says what to do next.
 */
export const FAILURES = {
  'config.invalid': 'Correct the settings listed, then run: tunnel-agent config check',
  'config.exists': 'Choose another file with --config, or replace this one with --force',
  'config.unwritable': 'Check that the folder exists, is writable and has free space',
  'config.refused':
    'Correct the configuration file, then run: tunnel-agent config check; the service reads it by itself',
  'config.not-yet': 'Restart the service at a moment when nobody uses the tunnel',
  'config.last-good': 'Correct the configuration file, then run: tunnel-agent config check',
  'config.exposed': 'Let nobody but the service read and write the file: chmod 600 FILE',
  'config.deployed-broken':
    'Correct or remove that file, or write a configuration of our own: tunnel-agent config init',
  'config.unknown-variable': 'Correct or remove the variable; docs/options.md lists the names',
  'config.ca-unreadable':
    'Give MEETING_PROXY_CA a PEM file with the certificate of the authority, readable for the service',
  'identity.missing':
    'If the device is to have a tunnel, set MEETING_DEVICE_KEY, MEETING_TOKEN or MEETING_TOKEN_FILE, and MEETING_PROXY_HOST; or ZEROFORCE_TRANSPORT=ssh and what docs/ssh-transport.md lists',
  'state.unreadable': 'Check that the state folder is a folder, and readable by the service: ls -ld DIR; ls -l DIR',
  'identity.token-file': 'Put the token into that file again, readable for the service, then restart the service',
  'state.unwritable': 'Check that the state folder exists, is writable and has free space: df -h; ls -ld DIR',
  'run-dir.unwritable': 'Check that the run folder is a folder owned by the service and not world-writable: ls -ld DIR',
  'instance.running': 'Stop the other instance first, or look at it: tunnel-agent status',
  'service.not-running': 'Start the service, then try again',
  'service.no-answer': 'Read the log of the service; when it hangs, restart it',
  'service.not-permitted': 'Run the command as root, or as the user of the service',
  'service.stuck':
    'The service is restarted by itself; when it repeats, report the log lines around it and what diagnose says: tunnel-agent diagnose',
  'service.not-told':
    'Install systemd-notify, which belongs to systemd; until then let systemd not wait for it: docs/install/services.md',
  'monitor.netstat-missing': 'Install netstat (BusyBox with netstat, or the net-tools package)',
  'monitor.netstat-failed': 'Run it by hand and read what it says: netstat -tn',
  'monitor.netstat-timeout':
    'Run it by hand; when it hangs, the system is overloaded or /proc is not readable: netstat -tn',
  'monitor.netstat-unreadable': 'Run it by hand: netstat -tn must print a header and a line a connection',
  'monitor.flag-unwritable':
    'Check the run folder: it must belong to the service, mode 0755 or 0700, with no links in it',
  'key.invalid': 'Send one line of an OpenSSH public key, as in id_ed25519.pub',
  'key.unreadable': 'Check the authorized keys file: a regular file, readable by the service: ls -l FILE',
  'key.unwritable': 'Check the folder of the authorized keys file: writable, free space, owned by the right user',
  'pairing.closed':
    'Stop the tunnel and wait for the pairing timeout; or, on the device: tunnel-agent pairing open, or tunnel-agent pairing reset',
  'pairing.tunnel-stands': 'End the paired tunnel at its client first, or reset pairing: tunnel-agent pairing reset',
  'pairing.tunnel-unknown':
    'Look at what keeps the service from seeing the tunnel: tunnel-agent status; then try again',
  'pairing.pin-missing':
    'Set a PIN on the device: tunnel-agent pairing pin; or choose another ZEROFORCE_PAIRING_POLICY',
  'pairing.pin-invalid': 'Choose 6 to 16 digits, or let the device make a PIN: tunnel-agent pairing pin',
  'pairing.pin-wrong':
    'Compare the PIN with the one of the device, then try again; a new one: tunnel-agent pairing pin',
  'pairing.pin-locked':
    'Find out who guesses (tunnel-agent pairing audit), then set a new PIN on the device: tunnel-agent pairing pin',
  'pairing.pin-challenge': 'Ask for a new challenge and prove the PIN again; a challenge is for one proof within 60 s',
  'pairing.pin-busy':
    'Wait, then try again; when strangers keep the device busy, pair without the PIN: tunnel-agent pairing open',
  'reset.button-unavailable':
    'Check ZEROFORCE_RESET_BUTTON and that the device tree has the button: ls -l /dev/input; cat /proc/bus/input/devices',
  'reset.file-unreadable': 'Check that the reset file is a regular file on a partition that can be read: ls -l FILE',
  'http.port-in-use': 'Find the program that holds the port: netstat -tlnp; or choose another with ZEROFORCE_HTTP_PORT',
  'http.address-unavailable': 'Choose an address of this machine with ZEROFORCE_HTTP_HOST, or :: for all',
  'http.not-permitted': 'Use a port above 1023 with ZEROFORCE_HTTP_PORT, or run the service as root',
  'http.elsewhere':
    'Pairing clients that know port 5000 only do not find the device there: free port 5000, or set ZEROFORCE_HTTP_PORT to it',
  'mdns.no-interface':
    'Check the cable or the Wi-Fi: ip addr; the device announces itself as soon as there is a network',
  'mdns.socket':
    'Find the program that holds UDP port 5353: netstat -ulnp; it must share it (SO_REUSEADDR), as avahi-daemon does',
  'mdns.send': 'Check the firewall of this machine: it must let UDP port 5353 out and in',
  'mdns.name-conflict': 'Give each device a host name of its own, then restart the service',
  'proxy.dns': 'Check MEETING_PROXY_HOST and the DNS server: nslookup HOST',
  'proxy.refused': 'Check MEETING_PROXY_HOST and MEETING_PROXY_PORT, and that the proxy runs',
  'proxy.unreachable': 'Check the network: default route, cable or Wi-Fi, and firewall of the site',
  'proxy.timeout': 'Check that the site lets outgoing connections to the proxy port pass',
  'proxy.tls-untrusted': 'Check MEETING_PROXY_CA, the host name in the certificate, and the clock of this device',
  'proxy.tls-pin':
    'Check who answers at the proxy address; when its key was changed on purpose, set the new MEETING_PROXY_PIN',
  'proxy.tls-off': 'Set MEETING_PROXY_TLS=1, or remove MEETING_PROXY_CA and MEETING_PROXY_PIN',
  'proxy.tls-not-spoken': 'The proxy speaks plain TCP on this port: set MEETING_PROXY_TLS=0, or use its TLS port',
  'proxy.tls-required': 'The proxy speaks TLS on this port: set MEETING_PROXY_TLS=1, or use its plain port',
  'proxy.tls-failed': 'Compare the TLS versions and settings of the proxy with those of this device',
  'proxy.handshake-closed':
    'The proxy closed without a word: check MEETING_DEVICE_KEY and the token, and that the device is authorised',
  'proxy.handshake-silent': 'The proxy accepts connections but does not answer: check the port, then the proxy itself',
  'proxy.handshake-refused': 'Check MEETING_DEVICE_KEY and the token, and that the device is authorised at the proxy',
  'proxy.not-protocol': 'Something else answers on this port: check MEETING_PROXY_HOST and MEETING_PROXY_PORT',
  'ssh.missing': 'Install the OpenSSH client, or name its program with ZEROFORCE_SSH_PROGRAM',
  'ssh.failed': 'Read the sentence; then try the connection by hand: ssh -v -p PORT USER@HOST',
  'ssh.folder-unusable':
    'Check that the folder can be made there, belongs to the service and has free space: ls -ld DIR',
  'ssh.unusable-value': 'Correct the value that the sentence names',
  'ssh.dns': 'Check the name of the SSH server (ZEROFORCE_SSH_HOST) and the DNS server: nslookup HOST',
  'ssh.refused': 'Check address and port of the SSH server (ZEROFORCE_SSH_HOST, ZEROFORCE_SSH_PORT), and that it runs',
  'ssh.unreachable': 'Check the network: default route, cable or Wi-Fi, and firewall of the site',
  'ssh.timeout': 'Check that the site lets outgoing connections to the port of the SSH server pass',
  'ssh.silent': 'The server accepts connections and does not answer: check the port, then the server itself',
  'ssh.not-ssh': 'Something else answers on this port: check address and port of the SSH server',
  'ssh.no-common': 'Update the older of the two, or allow a newer algorithm in the configuration of the server',
  'ssh.closed': 'Read the log of the SSH server; it may limit connections, or refuse this address',
  'ssh.auth-refused':
    'Check the token (ZEROFORCE_SSH_TOKEN or ZEROFORCE_SSH_TOKEN_FILE) or the key, and that the server knows it',
  'ssh.identity-unusable': 'Check the private key: a file of mode 0600 without passphrase: ls -l FILE',
  'ssh.host-key-changed':
    'Ask the operator which key the server has. If it was changed on purpose, set the new one (ZEROFORCE_SSH_HOST_KEY) or remove the stored one; if not, somebody else answers',
  'ssh.host-key-unreadable':
    'Restore the file; or remove it, when the key of the next connection may be trusted as the first was',
  'ssh.forward-refused':
    'The server must allow as many forwards as are asked for: compare ZEROFORCE_SSH_FORWARDS with the services of this device there',
  'ssh.local-port': 'Find the program that holds the port: netstat -tlnp; or choose another port for the forward',
  'ssh.target-failed':
    'Nothing answers at the far end of that forward: start the service there, or correct the forward',
  'ssh.pairing-forwarded': 'Remove the port of the pairing routes from ZEROFORCE_SSH_FORWARDS',
  'session.closed':
    'The other end closed the session; it is set up again by itself. When it repeats, read the sentence and the log there',
  'session.reset': 'The connection broke; it is set up again by itself',
  'session.peer-dead':
    'The other end stopped answering; it is tried again by itself. When it repeats, check the network',
  'session.protocol-error': 'The proxy broke the protocol: note the sentence and report it to its operator',
  'session.going-away': 'The proxy is being restarted; the agent comes back when it was told to',
  'operator.paused':
    'An operator keeps this device out for a while; to let it in at once, on our gateway: tunnel-gateway resume KEY',
  'operator.not-authorized':
    'Authorize the device at the other end; on our gateway: tunnel-gateway device authorize KEY',
  'operator.token-rotated':
    'The token of this device was exchanged at the other end: set the new one (MEETING_TOKEN_FILE or ZEROFORCE_SSH_TOKEN_FILE)',
  'operator.disconnected': 'An operator ended the session; it is set up again by itself. Ask there for the reason',
  'stream.limit':
    'Close connections through the tunnel that are no longer needed; when it repeats, look who opens them',
  'stream.reset': 'One connection through the tunnel was cut, the others go on; when it repeats, report the sentence',
  'identity.duplicate':
    'Another device uses the same device key or token: give each device its own (was a card cloned?)',
  'target.not-allowed': 'Add the port to ZEROFORCE_SERVICES when it is meant to be reachable',
  'target.refused': 'Nothing listens on that local port: start the service, or correct ZEROFORCE_SERVICES',
  'target.timeout': 'The local service does not accept connections: check it and the local firewall',
  'target.closed':
    'Ask the device for the cause: tunnel-agent diagnose; where it is sshd: hosts.deny, its limits, or what its log says',
  'target.stalled': 'The local service took no data for a while and its connection was closed: check that service',
  'meeting.api-unreachable': 'Check MEETING_API_URL, the DNS server and the network: nslookup HOST; ping HOST',
  'meeting.api-timeout': 'The Meeting API accepts connections or lets them hang, and does not answer: check the server',
  'meeting.api-tls': 'Check MEETING_API_CA, the host name in the certificate, and the clock of this device: date',
  'meeting.api-tls-not-spoken':
    'The Meeting API speaks plain HTTP on this port: set http:// in MEETING_API_URL, or its TLS port',
  'meeting.api-tls-required': 'The Meeting API speaks TLS on this port: set https:// in MEETING_API_URL',
  'meeting.api-plain': 'Use an https address in MEETING_API_URL where the server has one',
  'meeting.api-answer':
    'Check that MEETING_API_URL is the base address of the API; when it is, note the sentence and ask its operator',
  'meeting.api-redirect':
    'Set MEETING_API_URL to the address that the sentence names, where it is the server that is meant; the token never follows by itself',
  'meeting.api-error':
    'The Meeting server, or what stands before it, fails: ask its operator to read its log; the agent tries again by itself',
  'meeting.token-refused':
    'Compare the token (MEETING_TOKEN or MEETING_TOKEN_FILE) with that of the Meeting server, then restart the service',
  'meeting.not-provisioned':
    'Add the device to the Meeting server under its MEETING_DEVICE_KEY; the agent asks again every few minutes',
  'meeting.forbidden':
    'Ask the operator of the Meeting server why it declines this device, or what stands before it does; the agent asks again every few minutes',
  'meeting.not-authorized': 'Authorize the device at the Meeting server; until then it offers no tunnels to the device',
  'meeting.public-key-file': 'Give MEETING_PUBLIC_KEY_FILE the .pub file of an SSH key, readable for the service',
  'meeting.key-refused': 'Compare the key in MEETING_PUBLIC_KEY_FILE with what the Meeting server accepts',
  'meeting.known-hosts-file':
    'Check MEETING_KNOWN_HOSTS_FILE and its folder: no links, writable by its owner only, free space: ls -ld DIR; ls -l FILE',
  'meeting.maintenance-file':
    'Check MEETING_MAINTENANCE_KEYS_FILES: not the file of the paired key, no links, folders writable by their owner only, free space',
  'pair.target': 'Name the device as mDNS shows it, or give its host name or address: tunnel-agent pair 192.168.1.20',
  'pair.forward': 'Write it as ssh -L takes it: LOCALPORT:localhost:PORT or ADDRESS:LOCALPORT:localhost:PORT',
  'pair.running': 'Stop the other one first, or give this one a key of its own with --identity',
  'pair.not-found':
    'Check that the device is on and in the same network, and that UDP port 5353 passes; or give its address: tunnel-agent pair ADDRESS',
  'pair.several': 'Name the one that is meant: tunnel-agent pair NAME',
  'pair.no-answer': 'Check that the device is on, and that its ports for pairing and tunnel can be reached from here',
  'pair.identity':
    'Give --identity a private key without passphrase that belongs to this user; or another path, where one is made',
  'pair.state-unwritable': 'Check that the folder of --identity exists, is writable and has free space',
  'pair.host-key':
    'When the device was installed anew, or exchanged, remove the file that the sentence names; otherwise somebody else answers in its place',
  'pair.key-rejected': 'Give --identity a key that the device accepts: ed25519, ECDSA, or RSA of 2048 bits or more',
  'pair.key-refused':
    'Check that no other client pairs at the same time, that --user is right, and read the log of the tunnel sshd on the device',
  'pair.port-taken': 'Find the program that holds the local port: netstat -tlnp; or choose another with --forward',
  'pair.pin-needed': 'Give the PIN of the device: --pin asks for it, --pin-file or ZEROFORCE_PIN hold it',
  'pair.pin-wrong': 'Look the PIN up on the device, and give it anew; every wrong one counts, and 20 lock the device',
  'pair.impostor': 'Check who answers at this address: it does not know the PIN, so it is not the device',
  'migrate.blocked': 'Do what the sentence says, then look again: tunnel-agent migrate --dry-run',
  'migrate.running': 'Wait for its end: tunnel-agent migrate --status',
  'migrate.cut-off': 'Go on with it: tunnel-agent migrate; or put back what was there: tunnel-agent migrate --undo',
  'migrate.put-back':
    'Do what the sentence says, then try again: tunnel-agent migrate; what was there before runs again',
  'diagnose.bundle-unwritable':
    'Give --bundle a new file in a folder that exists, is writable, has free space and keeps modes: --bundle /tmp/device.tar.gz',
  'gateway.config-invalid': 'Correct the variables listed, then run: tunnel-gateway config check',
  'gateway.http-plain':
    'Configure a certificate: GATEWAY_TLS_CERT and GATEWAY_TLS_KEY; or listen on 127.0.0.1 behind a proxy that speaks TLS',
  'gateway.cannot-listen':
    'Find the program that holds the port: netstat -tlnp; or choose another address or port; docs/gateway.md lists the variables',
  'gateway.data-dir-unusable':
    'Check that GATEWAY_DATA_DIR is a folder of the user of the gateway, mode 0700, writable, with free space: ls -ld DIR; df -h',
  'gateway.running': 'Stop the other gateway first, or give this one a GATEWAY_DATA_DIR of its own',
  'gateway.store-corrupt':
    'Put a copy of the database in its place, as docs/gateway.md tells; only without any, start with an empty one: tunnel-gateway serve --empty-store',
  'gateway.store-missing':
    'Put the database back, or a copy of it, as docs/gateway.md tells; only without any, start with an empty one: tunnel-gateway serve --empty-store',
  'gateway.store-newer': 'Run the version of the gateway that wrote the database, or a later one',
  'gateway.store-failed': 'Check the disk of GATEWAY_DATA_DIR: free space, permissions, errors: df -h; dmesg',
  'gateway.secret-key-unusable':
    'Put gateway.key back from a copy, mode 0600; without it no token can be checked: remove it only with the database',
  'gateway.host-key-unusable':
    'Put the host key back from a copy, mode 0600; remove it only when every device may be given a new one',
  'gateway.admin-token-unusable':
    'Check GATEWAY_ADMIN_TOKEN_FILE: one line of 16 to 256 characters, mode 0600; remove it to have a new one made',
  'gateway.certificate-unusable':
    'Give GATEWAY_TLS_CERT and GATEWAY_TLS_KEY PEM files of a certificate and its own key, readable for the gateway',
  'gateway.range-ephemeral':
    'Reserve the range: sysctl net.ipv4.ip_local_reserved_ports=START-END; docs/gateway.md has the file for it',
  'gateway.device-exists': 'Choose another device key: each belongs to one device only',
  'gateway.device-unknown': 'Check the device key: tunnel-gateway device list',
  'gateway.device-offline':
    'Wait until the device is connected, or find out why it is not: tunnel-agent status on the device',
  'gateway.device-paused': 'Resume the device first: tunnel-gateway resume KEY',
  'gateway.not-authorized': 'Authorize the device first: tunnel-gateway device authorize KEY',
  'gateway.no-token': 'Give the device a token first: tunnel-gateway token rotate KEY',
  'gateway.service-not-forwarded':
    'Let the device forward that service: compare its -R requests, or ZEROFORCE_SERVICES, with: tunnel-gateway device show KEY',
  'gateway.no-port': 'Widen GATEWAY_PORT_RANGE, remove devices that are no more, or release blocked ports',
  'gateway.port-taken': 'Find the program that holds the ports of GATEWAY_PORT_RANGE: netstat -tlnp',
  'gateway.session-over': 'The device connects again by itself; then try again',
  'gateway.not-running': 'Start the gateway: tunnel-gateway serve; or check GATEWAY_HTTP_HOST and GATEWAY_HTTP_PORT',
  'gateway.no-answer': 'Read the log of the gateway; check that GATEWAY_HTTP_PORT is its port, and not another program',
  'gateway.token-refused':
    'Run the command as the user of the gateway with its environment, or set GATEWAY_ADMIN_TOKEN to its token',
  'gateway.refused': 'Correct what the sentence names, then try again',
  'internal.unexpected': 'This is a fault of the program: report it with the log lines around it',
} as const satisfies Record<string, string>;

export type FailureCode = keyof typeof FAILURES;

/** A failure with its name, one sentence (what, which thing, why) and the original error as `cause`. */
export class Failure extends Error {
  readonly code: FailureCode;

  constructor(code: FailureCode, sentence: string, options: { cause?: unknown } = {}) {
    super(sentence, options);
    this.name = 'Failure';
    this.code = code;
  }

  /** What to do next. */
  get remedy(): string {
    return FAILURES[this.code];
  }
}

/** The failure itself, or `code` around anything else that was thrown. */
export function asFailure(error: unknown, code: FailureCode = 'internal.unexpected'): Failure {
  if (error instanceof Failure) return error;
  return new Failure(code, error instanceof Error ? error.message : String(error), { cause: error });
}

/** `error.code` of a Node system error ('ENOENT', 'ECONNREFUSED', …), or null. */
export function systemCode(error: unknown): string | null {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' ? code : null;
}
