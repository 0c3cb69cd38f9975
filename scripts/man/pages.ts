import pkg from '../../package.json' with { type: 'json' };
import { program as agent } from '../../src/cli/agent-program.ts';
import { program as gateway } from '../../src/cli/gateway-program.ts';
import { DEPLOYED_FILES } from '../../src/config/deployed.ts';
import { asWritten, GATEWAY_VARIABLES, gatewayOptionOf } from '../../src/config/gateway-options.ts';
import { CONFIG_FILE } from '../../src/config/load.ts';
import { OPTION_KEYS, optionOf } from '../../src/config/options.ts';
import { commandPage } from './command-pages.ts';
import { bold, italic, item, paragraph, plain, section, verbatim } from './roff.ts';

export interface ManPage {
  /** `tunnel-agent.1`; the section is what stands behind the last dot. */
  file: string;
  text: string;
}

/** Every man page, from the definitions that the programs run by: none of them can say something else. */
export function manPages(version: string = pkg.version): ManPage[] {
  return [
    page('tunnel-agent.1', agentPage(), version),
    page('tunnel-gateway.1', gatewayPage(), version),
    page('zeroforce.conf.5', configurationPage(), version),
  ];
}

/** Without a date: the same pages whenever they are made. The version stands in the foot. */
function page(file: string, body: readonly string[], version: string): ManPage {
  const [, name = '', number = ''] = /^(.*)\.(\d)$/.exec(file) ?? [];
  const title = `.TH ${plain(name.toUpperCase())} ${number} "" "zeroforce ${plain(version)}" zeroforce`;
  return { file, text: `${[title, '.nr HY 0', '.ad l', ...body].join('\n')}\n` };
}

function agentPage(): string[] {
  return commandPage({
    program: agent,
    description: [
      'The service on a device behind a router. It lets one client set one SSH key while pairing is open, watches the',
      'tunnel of that client, and keeps a reverse tunnel to a proxy, through which a technician reaches the device.',
    ],
    rest: [
      ...section(
        'ENVIRONMENT',
        `Every setting can be given by a variable, which is stronger than the file: ${bold('zeroforce.conf')}(5).`,
        ...item(bold('NO_COLOR'), 'Set to anything: print no colours.'),
        ...item(bold('ZEROFORCE_PIN'), `The PIN for ${bold('tunnel-agent pair')}.`),
      ),
      ...section(
        'FILES',
        ...item(italic(CONFIG_FILE), 'The configuration, mode 0600.'),
        ...item(
          italic('/var/lib/zeroforce'),
          'What survives a restart: that the device was paired, the last good configuration, the record.',
        ),
        ...item(
          italic('/run/zeroforce'),
          'What lives until the next boot: the flag tunnel_active, the control socket.',
        ),
        ...item(italic('/etc/zeroforce/sshd_config'), 'The dedicated sshd of the paired tunnel.'),
      ),
      ...seeAlso('zeroforce.conf(5)', 'tunnel-gateway(1)', 'sshd(8)', 'systemctl(1)'),
    ],
  });
}

function gatewayPage(): string[] {
  return commandPage({
    program: gateway,
    description: [
      'The other end of the tunnel: devices behind routers connect to it, by the tunnel protocol or by OpenSSH, and each of',
      'their services has a port here that stays.',
    ],
    rest: [
      ...section(
        'ENVIRONMENT',
        'There is no configuration file: these variables are all.',
        ...GATEWAY_VARIABLES.flatMap((name) => {
          const { kind, about, default: fallback } = gatewayOptionOf(name);
          return item(bold(name), plain(about), '.br', facts({ allowed: kind.allowed, default: asWritten(fallback) }));
        }),
      ),
      ...section(
        'FILES',
        ...item(italic('/etc/zeroforce/gateway.env'), 'The variables of the service, one a line.'),
        ...item(
          italic('/var/lib/zeroforce-gateway'),
          'All that the gateway keeps. A backup of it is a backup of the gateway.',
        ),
      ),
      ...seeAlso('tunnel-agent(1)', 'ssh(1)', 'autossh(1)', 'systemctl(1)'),
    ],
  });
}

function configurationPage(): string[] {
  return [
    ...section('NAME', `zeroforce.conf \\- ${plain('configuration of the zeroforce device service')}`),
    ...section('SYNOPSIS', italic(CONFIG_FILE)),
    ...section(
      'DESCRIPTION',
      plain(
        'JSON in UTF-8, without comments. A dot in a key of this page stands for a section of the file, so http.port is',
      ),
      'written as',
      ...verbatim(['{ "http": { "port": 5000 } }']),
      ...paragraph(
        plain(
          'From the weakest to the strongest: the default, the file, the environment. Values are not merged: a list of a',
        ),
        plain('stronger place replaces that of a weaker one as a whole. Empty text means: not set.'),
      ),
      ...paragraph(
        plain(
          'A running service takes a changed file on by itself, each option at the time that stands at it. When the file is',
        ),
        plain('broken at a start, the last one that worked runs instead, and every fault is in the log.'),
      ),
      ...paragraph(
        `${bold('tunnel-agent config check')} names every fault, ${bold('tunnel-agent config show')} every value and where it comes from.`,
      ),
    ),
    ...section(
      'OPTIONS',
      ...OPTION_KEYS.flatMap((key) => {
        const { env, kind, about, applies, default: fallback } = optionOf(key);
        const said = facts({ allowed: kind.allowed, default: JSON.stringify(fallback) });
        return item(bold(key), plain(about), '.br', said, '.br', `Variable: ${bold(env)}. Applies: ${applies}.`);
      }),
    ),
    ...section(
      'FILES',
      ...item(italic(CONFIG_FILE), 'Mode 0600: a token may stand in it.'),
      ...item(italic('/var/lib/zeroforce/config.last-good.json'), 'The copy of the last file that worked.'),
      ...item(
        [...DEPLOYED_FILES.meeting, DEPLOYED_FILES.deviceInfo].map(italic).join(', '),
        'Of earlier software: read where there is no file of ours.',
      ),
    ),
    ...seeAlso('tunnel-agent(1)'),
  ];
}

function facts({ allowed, default: fallback }: { allowed: string; default: unknown }): string {
  const shown = fallback === null || fallback === 'null' ? 'none' : String(fallback);
  return `${plain(`Allowed: ${allowed}. Default: ${shown}.`)}`;
}

function seeAlso(...pages: string[]): string[] {
  return section(
    'SEE ALSO',
    pages.map((name) => name.replace(/^(.*)(\(\d\))$/, (_, word, number) => `${bold(word)}${number}`)).join(', '),
  );
}
