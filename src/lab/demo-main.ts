import { EXIT, KtraceError, messageOf } from '../util/errors.ts';
import { runDemo } from './demo.ts';

/** `npm run demo` after set-up: sets the exit code. */
try {
  process.exitCode = await runDemo(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`demo: ${messageOf(error)}\n`);
  if (error instanceof KtraceError && error.hint !== undefined) process.stderr.write(`demo: ${error.hint}\n`);
  process.exitCode = error instanceof KtraceError ? error.exitCode : EXIT.failure;
}
