import { createInterface } from 'node:readline';
import { Command } from 'commander';
import pkg from '../../package.json' with { type: 'json' };
import { defineDiagnose } from '../../src/cli/define-diagnose.ts';
import { look } from '../../src/cli/diagnose-command.ts';
import { type DiagnoseCommandOptions, parseRequest } from '../../src/cli/diagnose-options.ts';
import { NO_PROGRESS } from '../../src/cli/diagnose-progress.ts';
import { PLAIN } from '../../src/cli/style.ts';

// What `tunnel-agent diagnose --json` does, time and again, in one process: arguments and settings a line, a report a line.

/** The options of a command line, as the command itself reads them. */
async function read(args: readonly string[]): Promise<DiagnoseCommandOptions> {
  const program = new Command().exitOverride();
  defineDiagnose(program, { style: () => PLAIN });
  let typed: DiagnoseCommandOptions = { network: true };
  program.commands[0]?.action((options: DiagnoseCommandOptions) => {
    typed = options;
  });
  await program.parseAsync(['diagnose', ...args], { from: 'user' });
  return typed;
}

const refuse = (sentence: string): never => {
  throw new Error(sentence);
};

console.log('examiner is ready');
for await (const line of createInterface({ input: process.stdin })) {
  const { args, env } = JSON.parse(line) as { args: string[]; env: Record<string, string> };
  const before = { ...process.env };
  Object.assign(process.env, env);
  const typed = await read(args);
  const request = parseRequest(typed, refuse);
  const run = { source: typed, request, version: pkg.version, style: PLAIN, signal: new AbortController().signal };
  const { report } = await look(run, request.options, NO_PROGRESS);
  process.env = before;
  console.log(JSON.stringify(report));
}
