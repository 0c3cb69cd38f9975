#!/usr/bin/env node
import pkg from '../../package.json' with { type: 'json' };
import { program } from './agent-program.ts';
import { main } from './main.ts';
import { MIGRATION_WORKER } from './migration-words.ts';
import { SELF_DIAGNOSIS } from './self-diagnosis.ts';

if (process.argv[2] === SELF_DIAGNOSIS) {
  void import('./self-diagnosis-process.ts').then((self) => self.selfDiagnosisProcess(pkg.version));
} else if (process.argv[2] === MIGRATION_WORKER) {
  void import('./migration-worker.ts').then((worker) => worker.migrationWorker(process.argv.slice(3)));
} else {
  main(program);
}
