import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { DEPLOYED_FILES } from '../../src/config/deployed.ts';
import { GATEWAY_VARIABLES } from '../../src/config/gateway-options.ts';
import { loadConfig } from '../../src/config/load.ts';
import { OPTION_KEYS, optionOf } from '../../src/config/options.ts';
import { gatewayTable, jsonSchema, optionsTable } from '../../src/config/reference.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const SCHEMA = join(root, 'src/config/config.schema.json');
const OPTIONS_MD = join(root, 'docs/options.md');
const GATEWAY_TABLE = /(<!-- gateway: begin -->\n)([\s\S]*)(<!-- gateway: end -->)/;
const TABLE = /(<!-- table: begin -->\n)([\s\S]*)(<!-- table: end -->)/;

if (process.env.ZEROFORCE_REGENERATE === '1') {
  const document = await readFile(OPTIONS_MD, 'utf8');
  await writeFile(
    OPTIONS_MD,
    document
      .replace(TABLE, (_, begin, __, end) => `${begin}${optionsTable()}${end}`)
      .replace(GATEWAY_TABLE, (_, begin, __, end) => `${begin}${gatewayTable()}${end}`),
  );
  await writeFile(SCHEMA, `${JSON.stringify(jsonSchema(), null, 2)}\n`);
}

t.test('the shipped JSON Schema is the one that the table of options gives', async (t) => {
  t.strictSame(JSON.parse(await readFile(SCHEMA, 'utf8')), JSON.parse(JSON.stringify(jsonSchema())));
});

t.test('docs/options.md holds every option of the table and no other', async (t) => {
  const document = await readFile(OPTIONS_MD, 'utf8');
  t.equal(TABLE.exec(document)?.[2], optionsTable());
  t.equal(GATEWAY_TABLE.exec(document)?.[2], gatewayTable());
});

t.test('docs/options.md names each of our variables, and no variable that does not exist', async (t) => {
  const document = await readFile(OPTIONS_MD, 'utf8');
  const written = new Set(
    document.match(/\b(?:ZEROFORCE_[A-Z_]*[A-Z]|MEETING_[A-Z_]*[A-Z]|GATEWAY_[A-Z_]*[A-Z]|LOG_LEVEL)\b/g),
  );
  written.delete('ZEROFORCE_REGENERATE');
  t.strictSame(
    [...written].sort(),
    [...new Set([...OPTION_KEYS.map((key) => optionOf(key).env), ...GATEWAY_VARIABLES])].sort(),
  );
});

t.test('docs/options.md names the deployed files that are read', async (t) => {
  const document = await readFile(OPTIONS_MD, 'utf8');
  for (const path of [...DEPLOYED_FILES.meeting, DEPLOYED_FILES.deviceInfo]) t.match(document, path);
});

for (const board of ['beamer', 'rtsp-recorder']) {
  t.test(`the configuration shipped for ${board} has no fault`, async (t) => {
    const loaded = await loadConfig({ env: {}, configFile: join(root, 'board', board, 'config.json'), strict: true });
    t.equal(loaded.origin, 'file');
    t.equal(loaded.config.transport, 'meeting');
    t.equal(loaded.config.meeting, null, 'no identity: every device brings its own');
    t.strictSame(
      loaded.notices.map(({ code }) => code),
      ['identity.missing'],
    );
  });
}
