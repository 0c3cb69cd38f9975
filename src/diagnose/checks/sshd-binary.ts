import { defineCheck } from '../check.ts';
import { greetings, sshServer } from '../probes/sshd.ts';
import { findProgram, sshdProgram } from '../probes/sshd-config.ts';

export const sshdBinary = defineCheck({
  id: 'sshd.binary',
  title: 'an SSH server is installed',
  findings: {
    missing: {
      status: 'fail',
      symptom: 'The tunnel stands, and an SSH connection through it is reset or closed at once.',
      meaning: 'No SSH server is installed: neither sshd nor dropbear was found.',
      remedy: 'Install one: apt-get install openssh-server, or openssh in the Buildroot configuration',
    },
    broken: {
      status: 'fail',
      symptom:
        'The tunnel stands, and an SSH connection through it is reset or closed at once, often after an upgrade.',
      meaning: 'The SSH server {path} cannot run: {line}',
      remedy: 'Install it again, with the libraries that it needs: apt-get install --reinstall openssh-server',
    },
  },
  async run(facts, say) {
    const program = await facts.get(sshdProgram);
    if (program?.broken != null)
      return say.found('broken', { path: program.path, line: program.broken }, `${program.path} -V: ${program.broken}`);
    if (program !== null) return say.ok(program.said ?? 'OpenSSH', `found ${program.path}`);
    const server = await facts.get(sshServer('sshd'));
    const dropbear = server.kind === 'dropbear' ? server.daemon?.program.path : findProgram('dropbear');
    if (dropbear !== null) return say.ok('dropbear', `found ${dropbear ?? 'dropbear'}`);
    const { first } = await facts.get(greetings('sshd'));
    if (first.kind === 'ssh') return say.ok('an SSH server that is neither OpenSSH nor dropbear', first.banner);
    return say.found(
      'missing',
      {},
      'looked for sshd and dropbear in /usr/sbin, /usr/local/sbin, /sbin, /usr/bin, /opt/sbin',
    );
  },
});
