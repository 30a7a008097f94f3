import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { Answer, Question } from './ask-agents.ts';
import { commandBeside } from './cluster.ts';

/** A client that is not ktrace's, in one process beside the cluster for all that a test file asks. */
export class Asker {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #waiting: PromiseWithResolvers<Answer[]>[] = [];
  #stderr = '';

  constructor() {
    const script = join(import.meta.dirname, 'ask-agents.ts');
    const [program = '', ...argv] = commandBeside([process.execPath, '--import', 'tsx', script]);
    this.#child = spawn(program, argv, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#waiting.shift()?.resolve(JSON.parse(line) as Answer[]);
    });
    this.#child.stdin.on('error', () => undefined);
    this.#child.on('error', (error) => this.#fail(error));
    this.#child.on('close', () => this.#fail(new Error(`what asks the agents has ended: ${this.#stderr}`)));
  }

  /** All at once, through `pods/portforward`. */
  ask(questions: readonly Question[]): Promise<Answer[]> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null)
      throw new Error(`what asks the agents has ended: ${this.#stderr}`);
    const answers = Promise.withResolvers<Answer[]>();
    this.#waiting.push(answers);
    this.#child.stdin.write(`${JSON.stringify(questions)}\n`);
    return answers.promise;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = once(this.#child, 'close');
    this.#child.stdin.end();
    await closed;
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
