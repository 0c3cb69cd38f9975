import { type OpenedStore, openStore, type StoreOptions } from '../../../src/gateway/sql-store/open.ts';
import { testLog } from '../../support/test-log.ts';

/** Opens the store in that folder, whose lock is not held. */
export function open(dataDir: string, more: Partial<StoreOptions> = {}): Promise<OpenedStore> {
  return openStore({ dataDir, nowMs: Date.now, log: testLog().log, ...more });
}
