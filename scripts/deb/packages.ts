import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { bundle, bundleGateway } from '../bundle.ts';
import { manPages } from '../man/pages.ts';
import { type Content, changelogText, type DebianPackage } from './build-package.ts';
import { CARRIED_NODE, CARRIED_NODE_EPOCH, type NodeArchitecture, unpackNode } from './carried-node.ts';

const run = promisify(execFile);
const root = resolve(import.meta.dirname, '../../..');
const PACKAGE = 'board/package/zeroforce-agent';
const LIB = 'usr/lib/zeroforce';
const UNITS = 'usr/lib/systemd/system';

export interface Making {
  version: string;
  epochSeconds: number;
  /** A folder for what is made on the way; one for each package. */
  stage: string;
}

const from = (path: string, source: string, mode = 0o644): Content => ({ path, from: join(root, source), mode });
const text = (path: string, made: string, mode = 0o644): Content => ({ path, text: made, mode });

/** The agent, for every machine whose system or whose `zeroforce-node` has a Node for it. */
export async function agentPackage({ version, epochSeconds, stage }: Making): Promise<DebianPackage> {
  const name = 'zeroforce';
  const program = await bundle(join(stage, 'tunnel-agent.cjs'), version);
  return {
    name,
    version,
    architecture: 'all',
    fields: {
      Depends: 'nodejs (>= 20.19) | zeroforce-node, openssh-server, openssh-client, net-tools, systemd',
      Suggests: 'nftables',
    },
    description: [
      'service that pairs a device once and keeps it reachable',
      'On a device behind a router it lets one client set one SSH key while\npairing is open, watches the tunnel of that client, and keeps a reverse\ntunnel to a proxy, through which a technician reaches the device.',
      'Where it does not work, "tunnel-agent diagnose" names the cause.',
    ],
    control: controlFiles(name, ['preinst', 'postinst', 'prerm', 'postrm', 'triggers']),
    contents: [
      { path: `${LIB}/tunnel-agent.cjs`, from: program },
      { path: `${LIB}/tunnel-agent.cjs.LEGAL.txt`, from: `${program}.LEGAL.txt` },
      from(`${LIB}/tunnel-agent`, 'bin/tunnel-agent', 0o755),
      { path: 'usr/bin/tunnel-agent', link: '../lib/zeroforce/tunnel-agent' },
      from(`${LIB}/zeroforce-sshd`, `${PACKAGE}/zeroforce-sshd`, 0o755),
      from(`${LIB}/restart-after-dpkg`, `board/debian/${name}/restart-after-dpkg`, 0o755),
      from(`${UNITS}/zeroforce-restart.service`, `board/debian/${name}/zeroforce-restart.service`),
      from(`${UNITS}/zeroforce.service`, `${PACKAGE}/zeroforce.service`),
      from(`${UNITS}/zeroforce-sshd.service`, `${PACKAGE}/zeroforce-sshd.service`),
      from(`${UNITS}/zeroforce-monitor.service`, `${PACKAGE}/zeroforce-monitor.service`),
      from('usr/lib/tmpfiles.d/zeroforce.conf', `${PACKAGE}/zeroforce.tmpfiles`),
      from('usr/lib/sysusers.d/zeroforce.conf', `${PACKAGE}/zeroforce.sysusers`),
      from('usr/lib/sysctl.d/90-zeroforce.conf', `${PACKAGE}/90-zeroforce.conf`),
      text('etc/zeroforce/sshd_config', await sshdConfig()),
      from('usr/share/zeroforce/config/beamer.json', 'board/beamer/config.json'),
      from('usr/share/zeroforce/config/rtsp-recorder.json', 'board/rtsp-recorder/config.json'),
      from(`usr/share/doc/${name}/examples/unprivileged.conf`, `${PACKAGE}/unprivileged.conf`),
      overrides(name),
      ...(await completions('tunnel-agent', program)),
      ...pages(['tunnel-agent.1', 'zeroforce.conf.5'], version),
      ...(await documents({ name, version }, epochSeconds)),
    ],
  };
}

/** The other end. It lies beside the agent, so that both find the same Node. */
export async function gatewayPackage({ version, epochSeconds, stage }: Making): Promise<DebianPackage> {
  const name = 'zeroforce-gateway';
  await bundleGateway(stage);
  const program = join(stage, 'tunnel-gateway.cjs');
  const addon = 'node_modules/@libsql/linux-x64-gnu';
  return {
    name,
    version,
    architecture: 'amd64',
    fields: {
      Depends: 'nodejs (>= 20.19) | zeroforce-node, libc6 (>= 2.28), libgcc-s1, systemd',
      Recommends: 'openssh-client',
    },
    description: [
      'other end of the tunnels of zeroforce devices',
      'Devices behind routers connect to it, by the tunnel protocol or by an\nOpenSSH client, and each of their services has a port here that stays.',
      'It keeps its fleet in SQLite and needs no other service.',
    ],
    control: controlFiles(name, ['postinst', 'prerm', 'postrm', 'triggers']),
    contents: [
      { path: `${LIB}/tunnel-gateway.cjs`, from: program },
      { path: `${LIB}/tunnel-gateway.cjs.LEGAL.txt`, from: `${program}.LEGAL.txt` },
      { path: `${LIB}/${addon}/index.node`, from: join(stage, addon, 'index.node') },
      { path: `${LIB}/${addon}/package.json`, from: join(stage, addon, 'package.json') },
      from(`${LIB}/tunnel-gateway`, 'bin/tunnel-gateway', 0o755),
      from('usr/bin/tunnel-gateway', `board/debian/${name}/tunnel-gateway`, 0o755),
      from(`${UNITS}/zeroforce-gateway.service`, 'board/gateway/zeroforce-gateway.service'),
      from('usr/lib/sysusers.d/zeroforce-gateway.conf', `board/debian/${name}/sysusers`),
      from('usr/lib/sysctl.d/60-zeroforce-gateway.conf', 'board/gateway/60-zeroforce-gateway.conf'),
      from('etc/zeroforce/gateway.env', `board/debian/${name}/gateway.env`),
      overrides(name),
      ...(await completions('tunnel-gateway', program)),
      ...pages(['tunnel-gateway.1'], version),
      ...(await documents({ name, version }, epochSeconds)),
    ],
  };
}

/** Node and nothing else, for Debian 12. Its version is Node's: an upgrade of the agent does not bring it again. */
export async function nodePackage(architecture: NodeArchitecture, stage: string): Promise<DebianPackage> {
  const name = 'zeroforce-node';
  const version = CARRIED_NODE;
  await unpackNode(architecture, stage);
  const changes = [`Node ${version} as its authors have built it, without its symbols.`];
  const licence = await readFile(join(stage, 'LICENSE'), 'utf8');
  return {
    name,
    version,
    architecture,
    fields: { Depends: 'libc6 (>= 2.28), libgcc-s1, libstdc++6', 'Multi-Arch': 'foreign' },
    description: [
      'Node for zeroforce, where the system has none that is new enough',
      'Debian 12 has Node 18. This one is for the programs of zeroforce alone:\nit is not in the way of a nodejs of the system, and no other program\nfinds it.',
    ],
    control: {},
    contents: [
      { path: `${LIB}/node`, from: join(stage, 'node'), mode: 0o755 },
      text(
        `usr/share/doc/${name}/copyright`,
        `${await readFile(join(root, `board/debian/${name}/copyright`), 'utf8')}\n${licence}`,
      ),
      text(`usr/share/doc/${name}/changelog.gz`, changelogText({ name, version }, changes, CARRIED_NODE_EPOCH)),
      overrides(name),
    ],
  };
}

/** The dedicated sshd's configuration, which deployed Beamers have elsewhere. */
async function sshdConfig(): Promise<string> {
  const deployed = await readFile(join(root, PACKAGE, 'beamer-ssh-tunnel'), 'utf8');
  return deployed.replaceAll('/opt/beamer/beamer-ssh-tunnel', '/etc/zeroforce/sshd_config');
}

/** What lintian says and is meant so, each with its reason. */
const overrides = (name: string) =>
  from(`usr/share/lintian/overrides/${name}`, `board/debian/${name}/lintian-overrides`);

function controlFiles(name: string, files: readonly string[]): Record<string, string> {
  return Object.fromEntries(files.map((file) => [file, join(root, `board/debian/${name}`, file)]));
}

async function completions(name: string, program: string): Promise<Content[]> {
  const of = async (shell: string) => (await run(process.execPath, [program, 'completion', shell])).stdout;
  return [
    text(`usr/share/bash-completion/completions/${name}`, await of('bash')),
    text(`usr/share/zsh/vendor-completions/_${name}`, await of('zsh')),
    text(`usr/share/fish/vendor_completions.d/${name}.fish`, await of('fish')),
  ];
}

function pages(files: readonly string[], version: string): Content[] {
  return manPages(version)
    .filter(({ file }) => files.includes(file))
    .map((page) => text(`usr/share/man/man${page.file.slice(-1)}/${page.file}.gz`, page.text));
}

async function documents(made: Pick<DebianPackage, 'name' | 'version'>, epochSeconds: number): Promise<Content[]> {
  const changes = newestChanges(await readFile(join(root, 'CHANGELOG.md'), 'utf8'));
  return [
    from(`usr/share/doc/${made.name}/copyright`, `board/debian/${made.name}/copyright`),
    text(`usr/share/doc/${made.name}/changelog.gz`, changelogText(made, changes, epochSeconds)),
  ];
}

/** The items of the first section of CHANGELOG.md. */
function newestChanges(changelog: string): string[] {
  const [, section = ''] = changelog.split(/^## .*$/m);
  return [...section.matchAll(/^- (.*(?:\n {2}.*)*)/gm)].map(([, item = '']) => item);
}
