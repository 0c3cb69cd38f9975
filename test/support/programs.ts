import { resolve } from 'node:path';

/** Both programs as they are shipped, where `make test` says so; else as they are compiled. */
const folder = process.env.ZEROFORCE_TEST_PROGRAMS ?? resolve(import.meta.dirname, '../../../bin');

export const AGENT_PROGRAM = resolve(folder, 'tunnel-agent');
export const GATEWAY_PROGRAM = resolve(folder, 'tunnel-gateway');
