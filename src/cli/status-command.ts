import { loadConfig } from '../config/load.ts';
import { requestControl } from '../control/client.ts';
import type { DeviceStatus } from '../device.ts';
import { type CommonOptions, configSource, EXIT } from './common.ts';
import { statusText } from './status-text.ts';
import type { Style } from './style.ts';

/** `status`: what the running service says of itself. */
export async function status(options: CommonOptions & { json?: true }, style: Style): Promise<number> {
  const { config } = await loadConfig(configSource(options));
  const answer = (await requestControl(config.runDir, 'GET /status')) as DeviceStatus;
  process.stdout.write(options.json ? `${JSON.stringify(answer, null, 2)}\n` : statusText(answer, style));
  return EXIT.ok;
}
