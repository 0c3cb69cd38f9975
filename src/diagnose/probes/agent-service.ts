import type { Probe } from '../facts.ts';
import { findService } from './init.ts';

/** How the service of the agent is started on this machine. */
export interface AgentService {
  /** The command that starts it, also where it runs already. */
  readonly restart: string;
  /** The command that shows what it has logged. */
  readonly log: string;
  /** What the init system says of it, or null. */
  readonly state: string | null;
}

/** The service as the init system knows it; by hand where nothing of the init system starts it. */
export const agentService: Probe<AgentService> = async (facts) => {
  const found = await findService(facts, ['zeroforce', 'tunnel-agent'], 'tunnel-agent');
  if (found === null) return { restart: 'tunnel-agent run', log: 'tunnel-agent config check', state: null };
  const { restart, state } = found;
  const unit = /^systemctl restart (\S+)$/.exec(restart)?.[1];
  const log = unit === undefined ? 'logread | tail -n 50; tail -n 50 /var/log/messages' : `journalctl -u ${unit} -n 50`;
  return { restart, log, state };
};
