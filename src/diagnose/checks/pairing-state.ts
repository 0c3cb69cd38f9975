import { cleanText } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import { judgePairing } from '../device/pairing-window.ts';
import { NOT_ASKED } from '../findings.ts';
import { connections } from '../probes/connections.ts';
import { service, settledStatus } from '../probes/service.ts';

/** Who looks less often cannot be waited for. */
const LONGEST_WAIT_MS = 5_000;

export const pairingState = defineCheck({
  id: 'pairing.state',
  title: 'pairing opens and closes as configured',
  dependsOn: ['service.running'],
  explainedBy: ['monitor.netstat', 'monitor.fresh', 'disk.writable'],
  findings: {
    unknown: {
      status: 'fail',
      symptom: 'Pairing stays closed, although no tunnel stands.',
      meaning: 'It is not known whether a tunnel stands, so that nobody can pair: {reason}',
      remedy: 'Look at what keeps the service from seeing the tunnel: tunnel-agent status',
    },
    pinUnreadable: {
      status: 'fail',
      symptom: 'The PIN is not accepted, whatever it is.',
      meaning: 'The stored PIN cannot be read, and the policy is pin: nobody can pair',
      remedy: 'Set a new one on the device: tunnel-agent pairing pin; ls -l {state}',
    },
    pinMissing: {
      status: 'fail',
      symptom: 'Pairing asks for a PIN, and there is none.',
      meaning: 'The policy is pin, and no PIN is set: nobody can pair',
      remedy: 'Set one on the device: tunnel-agent pairing pin; or choose another ZEROFORCE_PAIRING_POLICY',
    },
    pinLocked: {
      status: 'fail',
      symptom: 'The right PIN is not accepted.',
      meaning: 'The PIN is locked after too many wrong ones: nobody can pair',
      remedy: 'Find out who guesses: tunnel-agent pairing audit; then set a new one: tunnel-agent pairing pin',
    },
    pinGuessed: {
      status: 'warn',
      symptom: 'Somebody tries PINs: each wrong one brings the lock nearer.',
      meaning: '{left} wrong PINs are left until it is locked',
      remedy: 'Find out who guesses: tunnel-agent pairing audit',
    },
    longOpen: {
      status: 'warn',
      symptom: 'Whoever is in the home network can pair, and would take the place of the client that was paired.',
      meaning: 'Pairing is open to anybody, and no client has come for {hours} hours',
      remedy: 'Start the paired client again; or let nobody pair by himself: ZEROFORCE_PAIRING_POLICY=pin or locked',
    },
    starting: {
      status: 'unknown',
      symptom: 'The service was started a moment ago.',
      meaning: 'The service has not looked for a tunnel yet: {reason}',
      remedy: 'Try again in a few seconds: tunnel-agent diagnose --only pairing.state',
    },
    notAsked: NOT_ASKED,
  },
  async run(facts, say) {
    const { status: first, failure } = await facts.get(service);
    if (first === null) return say.found('notAsked', { why: failure.message });
    const { stateDir, monitor: watching } = facts.config;
    const isNetstatSound = await facts.get(connections).then(
      () => true,
      () => false,
    );
    // For a moment after each change monitor and flag differ.
    const withinMs = isNetstatSound ? watching.intervalMs : 0;
    const status = await settledStatus(facts, first, withinMs, ({ pairing: now }) => now.tunnel === 'unknown');
    const { pairing, monitor, uptimeSeconds } = status;
    const { policy, tunnel, pin, everPaired } = pairing;
    const reason = cleanText(pairing.reason);
    const evidence = [
      `tunnel-agent status: policy ${policy}, ${pairing.open ? 'open' : pairing.pinReady ? 'open with the PIN' : 'closed'} (${reason})`,
      `tunnel: ${tunnel}; ${everPaired ? 'was paired before' : 'never paired'}`,
      ...(policy === 'pin' && pin !== null
        ? [`PIN ${pin.set ? 'set' : 'not set'}, ${pin.failuresLeft} failures left`]
        : []),
    ].join('\n');
    const isEarly =
      monitor?.kind === 'starting' || (monitor?.kind !== 'fault' && watching.intervalMs > LONGEST_WAIT_MS);
    if (tunnel === 'unknown' && isEarly) return say.found('starting', { reason }, evidence);
    const noTunnelSeconds = tunnel === 'none' ? (monitor?.sinceConnectedSeconds ?? 0) : 0;
    const problem = judgePairing(pairing, Math.min(noTunnelSeconds, uptimeSeconds));
    if (problem === null) return say.ok(reason, evidence);
    const words = { reason, state: stateDir, left: pin?.failuresLeft ?? 0, hours: Math.floor(noTunnelSeconds / 3600) };
    return say.found(problem, words, evidence);
  },
});
