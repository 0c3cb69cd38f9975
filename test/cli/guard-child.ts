// A command that hangs in a call that nobody can end: argv FIFO CODE; with CODE `busy` it calculates without end. Run by itself, it guards; guarded, it hangs.
import { open } from 'node:fs';
import { inOwnProcess, isGuarded, leave } from '../../src/cli/guard.ts';

const [, , fifo = '', code] = process.argv;
if (!isGuarded()) {
  process.exitCode = await inOwnProcess();
} else {
  for (let thread = 0; thread < 4; thread += 1) open(fifo, 'r', () => undefined);
  process.stdout.write(`guarded ${process.pid}\n`);
  // Other files can be read all the same.
  open('/dev/null', 'r', () => {
    process.stdout.write('done\n');
    while (code === 'busy') Math.sqrt(2);
    if (code !== undefined) leave(Number(code));
  });
}
