import { createProgram } from './program.ts';
import { errorText, exitCodeOf } from './report-error.ts';

/** Runs the command line and ends the process with its exit code. */
export async function main(argv: string[]): Promise<void> {
  let code: number;
  try {
    code = await runCommandLine(argv);
  } catch (error) {
    process.stderr.write(errorText(error, process.env['KTRACE_DEBUG'] === '1'));
    code = exitCodeOf(error);
  }
  // What was written to a pipe may still be on its way.
  process.exitCode = code;
  await Promise.all([drained(process.stdout), drained(process.stderr)]);
  process.exit(code);
}

async function runCommandLine(argv: string[]): Promise<number> {
  let code = 0;
  const program = createProgram((result) => {
    code = result;
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    const { code: kind, exitCode } = error as { code?: unknown; exitCode?: unknown };
    // The parser has said already what was wrong; help and version end with 0, all else is a usage error.
    if (typeof kind === 'string' && kind.startsWith('commander.')) return exitCode === 0 ? 0 : 2;
    throw error;
  }
  return code;
}

function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.once('error', () => resolve());
    stream.write('', () => resolve());
  });
}
