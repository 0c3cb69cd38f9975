import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cleanText } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import { agentService } from '../probes/agent-service.ts';
import { service } from '../probes/service.ts';
import { isHere, type ServiceProcess, serviceProcesses } from '../probes/service-processes.ts';
import { describeProgram, unixSocketHolder } from '../probes/socket-holders.ts';

const SOCKET = 'control.sock';
/** A Pi needs a few seconds from the start of the process to its socket. */
const START_SECONDS = 20;
/** USER_HZ, the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

export const serviceRunning = defineCheck({
  id: 'service.running',
  title: 'the service runs and answers',
  explainedBy: ['config.valid', 'config.identity', 'disk.writable', 'run.dir'],
  findings: {
    stopped: {
      status: 'fail',
      symptom:
        'Nothing of the device can be reached: no tunnel, no pairing. `tunnel-agent status` says that no service answers.',
      meaning: 'The service does not run',
      remedy: 'Start it, and read why it ended: {start}; {log}',
    },
    deaf: {
      status: 'fail',
      symptom: 'The process of the service is there, and `tunnel-agent status` says that no service answers.',
      meaning: 'The service runs as process {pid}, but without its control socket {socket}',
      remedy: 'Restart it: {start}',
    },
    hung: {
      status: 'fail',
      symptom: 'The process of the service is there, and neither `tunnel-agent status` nor the pairing routes answer.',
      meaning: 'The service does not answer: process {pid} {state}',
      remedy: 'Restart it: {start}',
    },
    stranger: {
      status: 'fail',
      symptom:
        'The service ends at its start and says that another one runs; `tunnel-agent status` gets no sensible answer.',
      meaning: 'Something else than the service answers at {socket}: {program}',
      remedy: 'End that program, then start the service: {start}',
    },
    lastGood: {
      status: 'warn',
      symptom: 'What was changed in the configuration file has no effect.',
      meaning: 'The service does not run with the present configuration: {sentence}',
      remedy: 'Restart it at a moment when nobody uses the tunnel: {start}',
    },
    starting: {
      status: 'unknown',
      symptom: 'The service was started a moment ago.',
      meaning: 'The service is starting: process {pid}, for {seconds} s',
      remedy: 'Try again in a few seconds: tunnel-agent diagnose',
    },
    elsewhere: {
      status: 'unknown',
      symptom: 'The service runs with other settings than those that the diagnosis was given.',
      meaning: 'A service runs as process {pid}, with other folders: {places}',
      remedy: 'Diagnose it with the same settings: {command}',
    },
    notPermitted: {
      status: 'unknown',
      symptom: 'The diagnosis is made by another user than root.',
      meaning: 'This user may not ask the service at {socket}',
      remedy: 'Run it as root: sudo tunnel-agent diagnose',
    },
  },
  async run(facts, say) {
    const { status, failure } = await facts.get(service);
    const { restart: start, log, state } = await facts.get(agentService);
    const socket = join(facts.config.runDir, SOCKET);
    if (status !== null) {
      const evidence = `asked ${socket}: process ${status.pid}, version ${cleanText(status.version, 40)}, up for ${status.uptimeSeconds} s`;
      const old = status.notices?.find(({ code }) => code === 'config.last-good' || code === 'config.not-yet');
      if (old !== undefined) return say.found('lastGood', { sentence: cleanText(old.sentence), start }, evidence);
      return say.ok(`it runs as process ${status.pid}`, evidence);
    }
    const said = `${socket}: ${cleanText(failure.message)}`;
    if (failure.code === 'service.not-permitted') return say.found('notPermitted', { socket }, said);
    const running = await facts.get(serviceProcesses);
    const [process] = running.filter((each) => isHere(each, facts)).concat(running);
    const evidence = [said, process === undefined ? 'no process tunnel-agent run' : describeProgram(process), state]
      .filter((line) => line !== null)
      .join('\n');

    const holder = failure.code === 'service.not-running' ? 'nobody' : await unixSocketHolder(facts, socket);
    if (holder === 'nobody') {
      if (process === undefined) return say.found('stopped', { start, log }, evidence);
      if (!isHere(process, facts)) {
        return say.found('elsewhere', { pid: process.pid, ...elsewhere(process) }, evidence);
      }
      const seconds = await ageSeconds(process);
      if (seconds < START_SECONDS) return say.found('starting', { pid: process.pid, seconds }, evidence);
      return say.found('deaf', { pid: process.pid, socket, start }, evidence);
    }
    const ours = running.find(({ pid }) => pid === holder?.pid) ?? (holder === null ? process : undefined);
    if (ours !== undefined)
      return say.found('hung', { pid: ours.pid, state: stateInWords(ours.state), start }, evidence);
    const program = holder === null ? 'a program that this user may not see' : describeProgram(holder);
    return say.found('stranger', { socket, program, start }, evidence);
  },
});

function elsewhere({ places: { config, runDir } }: ServiceProcess): { places: string; command: string } {
  const variable = runDir === null ? '' : `ZEROFORCE_RUN_DIR=${cleanText(runDir)}`;
  const option = config === null ? '' : `--config ${cleanText(config)}`;
  return {
    places: [variable, option].filter((each) => each !== '').join(' '),
    command: [variable, 'tunnel-agent diagnose', option].filter((each) => each !== '').join(' '),
  };
}

async function ageSeconds({ startTicks }: ServiceProcess): Promise<number> {
  const uptime = Number.parseFloat(await readFile('/proc/uptime', 'utf8').catch(() => ''));
  return Number.isNaN(uptime)
    ? Number.POSITIVE_INFINITY
    : Math.max(0, Math.round(uptime - startTicks / TICKS_PER_SECOND));
}

const STATES: Readonly<Record<string, string>> = {
  T: 'was stopped by a signal (state T)',
  t: 'is held by a debugger (state t)',
  D: 'waits for a disk or a network drive (state D)',
  R: 'is busy (state R)',
  Z: 'has ended and was not collected (state Z)',
};

function stateInWords(state: string): string {
  return STATES[state] ?? `hangs (state ${state})`;
}
