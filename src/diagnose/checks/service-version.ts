import { cleanText } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import { NOT_ASKED } from '../findings.ts';
import { agentService } from '../probes/agent-service.ts';
import { service } from '../probes/service.ts';

export const serviceVersion = defineCheck({
  id: 'service.version',
  title: 'the installed version is the one that runs',
  dependsOn: ['service.running'],
  findings: {
    other: {
      status: 'warn',
      symptom: 'What an update has changed has no effect.',
      meaning: 'Version {running} runs, and version {installed} is installed',
      remedy: 'Restart the service at a moment when nobody uses the tunnel: {start}',
    },
    notAsked: NOT_ASKED,
  },
  async run(facts, say) {
    const { status, failure } = await facts.get(service);
    if (status === null) return say.found('notAsked', { why: failure.message });
    const [running, installed] = [cleanText(status.version, 40), facts.version];
    const evidence = `the service says ${running}; tunnel-agent --version says ${installed}`;
    if (running === installed) return say.ok(installed, evidence);
    const start = (await facts.get(agentService)).restart;
    return say.found('other', { running, installed, start }, evidence);
  },
});
