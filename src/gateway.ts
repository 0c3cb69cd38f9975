import type { GatewayConfig } from './config/gateway-types.ts';
import type { Log } from './support/log.ts';
export class Gateway {
  constructor(_: { config: GatewayConfig; version: string; emptyStore: boolean; log: Log }) {}
  reload() {}
  async start() {}
  async stop(_: AbortSignal): Promise<{ name: string; problem: unknown }[]> {
    return [];
  }
}
