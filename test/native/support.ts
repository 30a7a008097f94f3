import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { needsRoot } from '../support/capability.ts';

/** What the tests of the addon share: objects, scenarios in processes of their own, waiting. */

/** The reason why these tests cannot run here, or false. */
export const cannot: string | false = process.platform !== 'linux' ? 'needs Linux' : needsRoot('to load BPF programs');

/** A scenario that hangs is ended, so that its test fails and tells what it printed. */
const SCENARIO_TIMEOUT_MS = 60_000;

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Where the objects of this run are; scenarios get it from the test that starts them. */
const objects = process.env['KTRACE_TEST_OBJECTS'] ?? mkdtempSync(join(tmpdir(), 'ktrace-native-test-'));
if (process.env['KTRACE_TEST_OBJECTS'] === undefined) {
  process.on('exit', () => rmSync(objects, { recursive: true, force: true }));
}

/** Compiles test/native/bpf/NAME.bpf.c and gives the object's path. */
export function compile(name: string, ...options: string[]): string {
  mkdirSync(objects, { recursive: true });
  const output = join(objects, `${name}.bpf.o`);
  const include = `/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
  const source = here(`bpf/${name}.bpf.c`);
  execFileSync('clang', ['-O2', '-g', '-target', 'bpf', '-I', include, ...options, '-c', source, '-o', output]);
  return output;
}

/** The object that {@link compile} made, seen from a scenario. */
export const objectPath = (name: string): string => join(objects, `${name}.bpf.o`);

/** How a scenario's process is started: with it, what it started may be started again beside it. */
export function scenarioCommand(name: string, ...args: string[]): [string, string[]] {
  return [process.execPath, ['--expose-gc', '--import', 'tsx', here(`scenarios/${name}.ts`), ...args]];
}

/**
 * Runs test/native/scenarios/NAME.ts in a network namespace of its own, which goes with it. A scenario asserts by itself and says `done` at
 * its end. Gives what it printed before.
 */
export async function scenario(name: string, environment: Record<string, string> = {}): Promise<string> {
  const [command, args] = scenarioCommand(name);
  const child = spawn('unshare', ['--net', '--', command, ...args], {
    env: { ...process.env, KTRACE_TEST_OBJECTS: objects, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: SCENARIO_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  const printed = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => (printed.out += chunk));
  child.stderr.on('data', (chunk: Buffer) => (printed.err += chunk));
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (...ended) => resolve(ended));
  });
  if (code !== 0 || !printed.out.endsWith('done\n')) {
    throw new Error(`scenario ${name} ended with ${signal ?? code}:\n${printed.out}${printed.err}`);
  }
  return printed.out.slice(0, -'done\n'.length);
}

export const u32 = (...values: number[]): Uint8Array => new Uint8Array(new Uint32Array(values).buffer);

/** Runs a command and gives its output; throws with its stderr when it fails. */
export function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** The error that `call` throws, as the addon gives it. */
export function thrown(call: () => unknown): Error & { code?: string; op?: string; log?: string; hint?: string } {
  try {
    call();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}
