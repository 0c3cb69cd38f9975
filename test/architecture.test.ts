import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import t from 'tap';

/** Which rooms of src/ each room may import from; `support` is open to all. The picture is in docs/architecture.md. */
const MAY_IMPORT: Record<string, string[]> = {
  support: [],
  systemd: [],
  protocol: [],
  config: [],
  discovery: [],
  srp: [],
  openssh: [],
  monitor: [],
  migrate: ['config'],
  pairing: ['srp'],
  reset: [],
  page: [],
  control: [],
  diagnose: ['config'],
  tunnel: ['link', 'protocol', 'openssh'],
  meeting: [],
  'pair-client': ['discovery', 'openssh', 'srp'],
  reload: ['config'],
  link: ['protocol'],
  gateway: ['config', 'link', 'protocol'],
  cli: ['config', 'control', 'monitor', 'device', 'diagnose', 'gateway', 'migrate', 'pair-client', 'reload', 'systemd'],
  device: [
    ...[
      'config',
      'control',
      'diagnose',
      'discovery',
      'link',
      'meeting',
      'monitor',
      'page',
      'pairing',
      'reset',
      'tunnel',
    ],
  ],
};

/** Folders of the gateway know its own files and nothing of each other; its own files know no folder. gateway.ts wires them. */
const GATEWAY_FOLDERS = ['agents', 'api', 'sql-store', 'ssh'];

/** Files that decide and do nothing: no net, no files, no timers, no wall clock, no randomness. */
const PURE = [
  /^protocol\//,
  /^config\/(?!load|files|deployed|token-file|ca-file)/,
  /^monitor\/netstat\.ts$/,
  /^pairing\/machine\.ts$/,
  /^cli\/diagnose-(changes|text)\.ts$/,
  /^diagnose\/bundle\/(redact|manifest|secret-names|spellings)\.ts$/,
  /^diagnose\/(ids|check|checks|findings|guide|printable|report)\.ts$/,
  /^diagnose\/(access|api|device|firewall|keys|proc|proxy|sshd)\//,
  /^discovery\/(announcement|conflict|links|names|packet|records|responder)\.ts$/,
  /^device\/(one-line|troubles)\.ts$/,
  /^meeting\/(?:answers|authorized-keys|schedule|ssh-key|words)\.ts$/,
  /^openssh\/(config|log-lines|progress)\.ts$/,
  /^systemd\/(manager|rounds)\.ts$/,
  /^page\/(headline|html|news|view|words)\.ts$/,
  /^support\/socket-table\.ts$/,
  /^migrate\/(?:configuration|model|plan|recognise|steps|text)\.ts$/,
  /^pair-client\/(answers|events|flow|select)\.ts$/,
  /^gateway\/(attempts|bounded-map|counters|gate|port-pool|types)\.ts$/,
  /^gateway\/agents\/hello\.ts$/,
  /^gateway\/sql-store\/schema\.ts$/,
  /^gateway\/ssh\/forward-requests\.ts$/,
  /^gateway\/api\/(contract|json-schema|openapi|refusal|setup-script|setup-script-parts|ssh-files)\.ts$/,
  /^gateway\/api\/contract\//,
];
const PURE_BUILTINS = new Set(['node:buffer', 'node:util']);
const IMPURE_WORDS = /\b(Date\.now|new Date|setTimeout|setInterval|setImmediate|Math\.random|performance\.|process\.)/;

/** Each third-party package has one home. */
const HOMES: Record<string, string[]> = {
  'bonjour-service': ['discovery'],
  chokidar: ['monitor'],
  commander: ['cli'],
  execa: ['support'],
  express: ['gateway', 'pairing'],
  'fast-srp-hap': ['srp'],
  helmet: ['page'],
  kysely: ['gateway'],
  libsql: ['gateway'],
  multer: ['pairing'],
  nanotar: ['diagnose'],
  pino: ['support'],
  'prom-client': ['gateway'],
  'rate-limiter-flexible': ['pairing'],
  ssh2: ['gateway'],
  sshpk: ['pairing'],
  valibot: ['config', 'gateway'],
};

const root = resolve(import.meta.dirname, '../..');
const src = join(root, 'src');
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));

function imports(file: string): string[] {
  const text = readFileSync(join(src, file), 'utf8');
  return [
    ...text.matchAll(/^\s*(?:import|export)\b[^'"]*?from\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)|^import '([^']+)'/gm),
  ].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
}

/** `pairing/http.ts` → `pairing`, `device.ts` → `device`. */
const room = (file: string) => file.split('/')[0]?.replace(/\.ts$/, '') ?? '';
const target = (file: string, specifier: string) => relative(src, resolve(src, dirname(file), specifier));

t.test('every room imports only from the rooms it may', async (t) => {
  t.ok(files.length > 10, 'there is something to check');
  for (const file of files) {
    const allowed = MAY_IMPORT[room(file)];
    t.ok(allowed !== undefined, `${file} stands in a known room`);
    for (const specifier of imports(file).filter((name) => name.startsWith('.'))) {
      const other = room(target(file, specifier));
      if (other === '..' || other === room(file) || other === 'support') continue; // '..' is package.json
      t.ok(allowed?.includes(other), `${file} may import ${specifier}`);
    }
  }
});

t.test('the folders of the gateway know nothing of each other', async (t) => {
  const folder = (path: string) => /^gateway\/([a-z-]+)\//.exec(path)?.[1] ?? null;
  const inside = files.filter((file) => file.startsWith('gateway/'));
  t.ok(inside.length > 5, 'there is something to check');
  for (const file of inside) {
    const own = folder(file);
    t.ok(own === null || GATEWAY_FOLDERS.includes(own), `${file} stands in a known folder`);
    for (const specifier of imports(file).filter((name) => name.startsWith('.'))) {
      const other = folder(target(file, specifier));
      t.ok(other === null || other === own, `${file} may import ${specifier}`);
      t.not(target(file, specifier), 'gateway.ts', `${file} does not know who composes it`);
    }
  }
});

t.test('docs/architecture.md has a row for each room, and says the same', async (t) => {
  const rows = new Map<string, string[]>();
  for (const [, names = '', imports = ''] of readFileSync(join(root, 'docs/architecture.md'), 'utf8').matchAll(
    /^\| (`[^|]*`) \|[^|]*\| ([^|]*) \|$/gm,
  )) {
    const [, name = ''] = /^`([a-z-]+)/.exec(names) ?? [];
    rows.set(name, imports === '–' ? [] : imports.split(', '));
  }
  t.strictSame([...rows.keys()].sort(), Object.keys(MAY_IMPORT).sort());
  for (const [name, allowed] of Object.entries(MAY_IMPORT)) {
    const told = (rows.get(name) ?? []).filter((other) => other !== 'support');
    t.strictSame(told, [...allowed].sort(), name);
  }
});

t.test('no file imports itself through others', async (t) => {
  const graph = new Map(
    files.map((file) => [
      file,
      imports(file)
        .filter((name) => name.startsWith('.'))
        .map((name) => target(file, name)),
    ]),
  );
  const done = new Set<string>();
  const visit = (file: string, path: string[]): void => {
    if (path.includes(file)) {
      t.fail(`a cycle: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`);
      return;
    }
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  t.ok(done.size >= files.length, 'every file was visited');
});

t.test('an idle service has loaded no check', async (t) => {
  const ids = 'diagnose/ids.ts'; // the command line completes them
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const text = readFileSync(join(src, file), 'utf8').replace(/^\s*(?:import|export) type\b[^;]*;/gm, '');
    for (const [, specifier = ''] of text.matchAll(/^\s*(?:import|export)\b[^'"]*?from\s+'(\.[^']+\.ts)'/gm)) {
      visit(target(file, specifier));
    }
  };
  for (const entry of ['cli/tunnel-agent.ts', 'cli/service-commands.ts']) visit(entry);
  t.ok(seen.has('device.ts') && seen.has('device/diagnosis.ts'), 'it was followed');
  t.strictSame(
    [...seen].filter((file) => file.startsWith('diagnose/')),
    [ids],
  );
});

t.test('the pure files touch neither the machine nor the time', async (t) => {
  const pure = files.filter((file) => PURE.some((pattern) => pattern.test(file)));
  t.ok(pure.length > 5, 'there is something to check');
  for (const file of pure) {
    for (const specifier of imports(file).filter((name) => builtinModules.includes(name.replace(/^node:/, '')))) {
      t.ok(PURE_BUILTINS.has(specifier), `${file} may import ${specifier}`);
    }
    const code = readFileSync(join(src, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    t.notMatch(code, IMPURE_WORDS, `${file} is pure`);
  }
});

t.test('every third-party package is declared, has one home, and a reason in docs/dependencies.md', async (t) => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
    devDependencies: Record<string, string>;
  };
  const reasons = readFileSync(join(root, 'docs/dependencies.md'), 'utf8');
  const used = new Set<string>();
  for (const file of files) {
    for (const specifier of imports(file).filter((name) => !name.startsWith('.') && !name.startsWith('node:'))) {
      used.add(specifier);
      t.ok(HOMES[specifier]?.includes(room(file)), `${file} is a home of ${specifier}`);
    }
  }
  t.strictSame([...used].sort(), Object.keys(manifest.dependencies).sort(), 'what is declared is used');
  for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
    t.match(version, /^\d+\.\d+\.\d+$/, `${name} is pinned`);
    t.ok(reasons.includes(`\`${name}\``), `${name} has a reason`);
  }
});

t.test('only the command line reads argv, the environment or ends the process', async (t) => {
  for (const file of files.filter((name) => room(name) !== 'cli')) {
    t.notMatch(readFileSync(join(src, file), 'utf8'), /process\.(argv|exit\b|env)/, file);
  }
});
