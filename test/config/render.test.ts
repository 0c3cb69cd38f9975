import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { loadConfig } from '../../src/config/load.ts';
import { OPTION_KEYS } from '../../src/config/options.ts';
import { configText, initialConfig, showConfig } from '../../src/config/render.ts';

const NO_DEPLOYED_FILES = { meeting: [], deviceInfo: '/nowhere/info.json' };

t.test('the initial configuration passes a strict check and changes no default', async (t) => {
  const folder = t.testdir();
  const configFile = join(folder, 'config.json');
  await writeFile(configFile, initialConfig(), { mode: 0o600 });
  const options = { env: {}, deployedFiles: NO_DEPLOYED_FILES };
  const written = await loadConfig({ ...options, configFile, strict: true });
  const without = await loadConfig({ ...options, configFile: join(folder, 'none.json') });
  t.equal(written.origin, 'file');
  t.strictSame(written.config, without.config);
  t.match(initialConfig(), /^\{\n {2}"logLevel": "info",\n.*\n\}\n$/s);
  t.match(JSON.parse(initialConfig()), { meeting: { deviceKey: '', proxy: { host: '', port: 9001 } } });
});

t.test('shows every option with value and place, as JSON and as text', async (t) => {
  const env = {
    ZEROFORCE_HTTP_PORT: '5001',
    MEETING_DEVICE_KEY: 'k',
    MEETING_TOKEN: 'hush',
    MEETING_PROXY_HOST: 'p.example',
  };
  const configFile = join(t.testdir({ 'config.json': '{"tunnel":{"port":8100}}' }), 'config.json');
  const shown = showConfig(await loadConfig({ env: { ...env, ZEROFORCE_NEW: '' }, configFile }));
  t.strictSame(JSON.parse(JSON.stringify(shown)), shown, 'plain data');
  t.strictSame(
    shown.settings.map(({ key }) => key),
    OPTION_KEYS,
  );
  const text = configText(shown);
  t.match(text, `The configuration file is ${configFile}.`);
  t.match(text, new RegExp(`^tunnel\\.port +8100 +${configFile}$`, 'm'));
  t.match(text, /^http\.port +5001 +environment$/m);
  t.match(text, /^runDir +"\/run\/zeroforce" +default$/m);
  t.match(text, /^meeting\.token +"\[secret\]" +environment$/m);
  t.match(text, /^meeting\.proxy\.pin +- +default$/m);
  t.match(text, /Note: ZEROFORCE_NEW is not an option and is ignored/);
  t.notMatch(text + JSON.stringify(shown), 'hush');
});
