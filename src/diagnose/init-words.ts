// What the init systems say of a service, and how each is told to start it.

export interface InitSystem {
  readonly kind: 'systemd' | 'openrc' | 'script' | 'none';
  /** Unit or script, or null where nothing of the init system starts the agent. */
  readonly service: string | null;
}

/** Whether a file of an init system starts the service: a unit of systemd, a script of OpenRC or BusyBox. */
export function startsService(text: string): boolean {
  const lines = text.split('\n').filter((line) => !/^\s*[#;]/.test(line));
  return lines.some((line) => /(?:^|[/\s"'=])tunnel-agent(?:\.[cm]?js)?(?:["'\s]|$)/.test(line));
}

/** The command that starts the service again. */
export function startCommand({ kind, service }: InitSystem): string {
  if (service === null) return 'tunnel-agent run';
  switch (kind) {
    case 'systemd':
      return `systemctl restart ${service}`;
    case 'openrc':
      return `rc-service ${service} restart`;
    default:
      return `${service} restart`;
  }
}

/** The command that shows the service's own words. */
export function logCommand({ kind, service }: InitSystem): string {
  return kind === 'systemd' && service !== null ? `journalctl -u ${service} -n 50` : 'logread; tail -n 50 /var/log/messages';
}
