import { CommanderError, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { EXIT } from '../util/errors.ts';
import { calledAs } from './options/command.ts';
import { errorText, exitCodeOf } from './options/report-error.ts';
import { createProgram } from './program.ts';

/** Runs the command line and ends the process with its exit code. */
export async function main(argv: string[]): Promise<void> {
  let code = 0;
  let command: CommandUnknownOpts | undefined;
  const program = createProgram(
    (result) => {
      code = result;
    },
    (one) => {
      command = one;
    },
  );
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    const isHelp = error instanceof CommanderError;
    // The parser has printed help or the version, and ends with 0 where they were asked for.
    code = isHelp ? (error.exitCode === 0 ? EXIT.ok : EXIT.usage) : exitCodeOf(error);
    const called = code === EXIT.usage && command !== undefined ? calledAs(command) : undefined;
    if (!isHelp) process.stderr.write(errorText(error, process.env['KTRACE_DEBUG'] === '1', called));
  }
  // What was written to a pipe may still be on its way.
  process.exitCode = code;
  await Promise.all([drained(process.stdout), drained(process.stderr)]);
  process.exit(code);
}

function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.once('error', () => resolve());
    stream.write('', () => resolve());
  });
}
