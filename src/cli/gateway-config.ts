import { ConfigError } from '../config/faults.ts';
import { type GatewaySetting, loadGatewayConfig } from '../config/gateway.ts';
import { EXIT } from './common.ts';

/** `config check`: the environment alone; whether files and ports can be had shows at the start. */
export function gatewayConfigCheck({ json }: { json?: true }): number {
  const print = (answer: unknown) => process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`);
  try {
    const { notices } = loadGatewayConfig(process.env);
    if (json) {
      print({ valid: true, faults: [], notices });
    } else {
      for (const notice of notices) process.stdout.write(`note: ${notice.sentence}\n`);
      process.stdout.write('The configuration is valid.\n');
    }
    return EXIT.ok;
  } catch (error) {
    // The faults are the answer here, so they stand on standard output; the exit code is the same.
    if (!json || !(error instanceof ConfigError)) throw error;
    print({ valid: false, faults: error.faults, remedy: error.remedy });
    return EXIT.configuration;
  }
}

/** `config show`: what the gateway would run with now. */
export function gatewayConfigShow({ json }: { json?: true }): number {
  const { settings, notices } = loadGatewayConfig(process.env);
  const text = [...settingsText(settings), ...notices.map(({ sentence }) => `\nNote: ${sentence}.`)].join('\n');
  process.stdout.write(json ? `${JSON.stringify({ settings, notices }, null, 2)}\n` : `${text}\n`);
  return EXIT.ok;
}

function settingsText(settings: readonly GatewaySetting[]): string[] {
  const shown = ({ value }: GatewaySetting) => (value === null ? '-' : String(value));
  const width = (of: (setting: GatewaySetting) => string) => Math.max(...settings.map((setting) => of(setting).length));
  const [names, values] = [width(({ env }) => env), width(shown)];
  return settings.map((one) => `${one.env.padEnd(names)}  ${shown(one).padEnd(values)}  ${one.origin}`);
}
