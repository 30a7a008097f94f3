import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { EXIT, KtraceError } from '../../util/errors.ts';

/** Takes the exit code of the command that ran. */
export type Done = (code: number) => void;

/** For a flag that may be given again. */
export function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

/** A command whose parser tells mistakes as everything else does. `onError`: takes the command in whose words the mistake is. */
export class CliCommand extends Command {
  readonly #onError: (command: CommandUnknownOpts) => void;

  constructor(name: string | undefined, onError: (command: CommandUnknownOpts) => void) {
    super(name);
    this.#onError = onError;
  }

  override createCommand(name?: string): CliCommand {
    return new CliCommand(name, this.#onError);
  }

  /** Throws KTRACE_E_ARGUMENT. The parser's own words begin with `error: `, and end with what was perhaps meant, in parentheses. */
  override error(text: string): never {
    this.#onError(this);
    const [first = '', ...more] = text.replace(/^error: /, '').split('\n');
    const message = [first.charAt(0).toUpperCase() + first.slice(1), ...more.filter((line) => !MEANT.test(line))].join('\n');
    const hint = more.map((line) => MEANT.exec(line)?.[1]).find((meant) => meant !== undefined);
    throw new KtraceError('KTRACE_E_ARGUMENT', message, { exitCode: EXIT.usage, ...(hint === undefined ? {} : { hint }) });
  }
}

const MEANT = /^\((Did you mean .*)\)$/;

/** As it is called: `ktrace lab up`. */
export function calledAs(command: CommandUnknownOpts): string {
  return command.parent === null ? command.name() : `${calledAs(command.parent)} ${command.name()}`;
}
