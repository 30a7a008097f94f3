import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { afterEach, before as beforeSuite } from 'node:test';
import { inspect } from 'node:util';

/** Writes what it knows as files into the folder. */
export type Collect = (folder: string) => void | Promise<void>;

/** Node 24's context of a test behind its end, which its types do not know yet. */
interface EndedTest {
  name: string;
  fullName: string;
  passed: boolean;
  error?: unknown;
}

const sources: { name: string; collect: Collect }[] = [];
/** Of the machine: how busy it was, and what the network's receive queues dropped. */
const MACHINE = ['loadavg', 'meminfo', 'pressure/cpu', 'pressure/io', 'pressure/memory', 'net/softnet_stat', 'uptime'];
/** One who hangs as the test did must not keep the rest. */
const COLLECT_MS = 30_000;
let folders = 0;

/** When a test fails from now on, this is asked for what it knows, in a folder of its own name. */
export function keepOnFailure(name: string, collect: Collect): void {
  sources.push({ name: `${sources.length + 1}-${name}`, collect });
}

/** `before` of node:test; a hook that fails leaves what is known like a test, whose suite is never told of by {@link afterEach}. */
export function before(hook: () => unknown): void {
  beforeSuite(async () => {
    try {
      await hook();
    } catch (error) {
      await keepOf({ name: 'before', fullName: 'what stands before a suite', passed: false, error });
      throw error;
    }
  });
}

// A benchmark that uses the same parts is no test, and a hook would make it one.
if (/\.test\.m?[jt]s$/.test(process.argv[1] ?? '')) afterEach((context) => keepOf(context as unknown as EndedTest));

async function keepOf(context: EndedTest): Promise<void> {
  if (context.passed) return;
  const folder = join(root(), `${basename(process.argv[1] ?? 'test', '.test.ts')}-${process.pid}-${++folders}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'error.txt'), `${context.fullName}\n${inspect(context.error, { depth: 8 })}\n`);
  writeFileSync(join(folder, 'machine.txt'), MACHINE.map((name) => `# ${name}\n${read(`/proc/${name}`)}`).join('\n'));
  await Promise.all(sources.map((source) => collectInto(folder, source)));
  process.stderr.write(`evidence of "${context.name}": ${relative(process.cwd(), folder)}\n`);
}

function root(): string {
  return process.env['KTRACE_EVIDENCE'] || join(tmpdir(), 'ktrace-evidence');
}

async function collectInto(folder: string, { name, collect }: (typeof sources)[number]): Promise<void> {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not within ${COLLECT_MS} ms`)), COLLECT_MS);
  try {
    await Promise.race([collect(own), late.promise]);
  } catch (error) {
    writeFileSync(join(own, 'not-collected.txt'), inspect(error));
  } finally {
    clearTimeout(timer);
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    return `${error}\n`;
  }
}
