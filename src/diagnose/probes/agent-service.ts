import type { Probe } from '../facts.ts';
import { findService } from './init.ts';

/** How the service of the agent is started on this machine. */
export interface AgentService {
  /** The command that starts it, also where it runs already. */
  readonly restart: string;
  /** The command that shows what it has logged. */
  readonly log: string;
  /** The command that shows how it is started, and with which rights. */
  readonly show: string;
  /** The command that gives its sandbox another setting; only systemd makes one. */
  readonly edit: string;
  /** What the init system says of it, or null. */
  readonly state: string | null;
}

/** The service as the init system knows it; by hand where nothing of the init system starts it. */
export const agentService: Probe<AgentService> = async (facts) => {
  const found = await findService(facts, ['zeroforce', 'tunnel-agent'], 'tunnel-agent');
  if (found === null) return BY_HAND;
  const { restart, log, show, state } = found;
  return { restart, log, show, edit: show.replace(/^systemctl cat/, 'systemctl edit'), state };
};

const BY_HAND: AgentService = {
  restart: 'tunnel-agent run',
  log: 'tunnel-agent config check',
  show: 'tunnel-agent config show',
  edit: 'systemctl edit zeroforce',
  state: null,
};
