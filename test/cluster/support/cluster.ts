import { execFile } from 'node:child_process';
import { KtraceProcess } from '../../support/ktrace-process.ts';

const TOOL = process.env['KTRACE_CLUSTER'] || undefined;
const KUBECONFIG = process.env['KUBECONFIG'] || undefined;
/** Long: nodes, pods and tests may share two cores. */
const COMMAND_MS = 120_000;

/** What the pods of the tests run: any image with curl, dig, nc, ping, python3 and nsenter. */
export const TOOLS_IMAGE = process.env['KTRACE_TEST_TOOLS_IMAGE'] || 'localhost/tools:1';

/** Why cluster tests cannot run: there is neither a tool that brought one nor a kubeconfig. */
export const SKIP = TOOL === undefined && KUBECONFIG === undefined ? 'set KTRACE_CLUSTER or KUBECONFIG' : false;

export interface Output {
  stdout: string;
  stderr: string;
}

/** Runs a command where the cluster's API server can be reached: beside the nodes, or here. */
export function beside(argv: readonly string[], input?: string): Promise<Output> {
  return run(commandBeside(argv), input);
}

/** The command that runs this one there. */
export function commandBeside(argv: readonly string[]): string[] {
  return TOOL === undefined ? [...argv] : [TOOL, 'exec', ...argv];
}

export async function kubectl(...argv: string[]): Promise<string> {
  return (await beside(['kubectl', ...argv])).stdout;
}

/** An object, or a list of objects, as the API server has it. */
export async function getJson<T>(...argv: string[]): Promise<T> {
  return JSON.parse(await kubectl('get', ...argv, '-o', 'json')) as T;
}

export async function apply(manifest: readonly object[]): Promise<void> {
  const list = { apiVersion: 'v1', kind: 'List', items: manifest };
  await beside(['kubectl', 'apply', '-f', '-'], JSON.stringify(list));
}

/** `ktrace …` as a user of the cluster runs it. */
export function ktrace(...argv: string[]): KtraceProcess {
  return TOOL === undefined
    ? new KtraceProcess(argv, { env: { KUBECONFIG: KUBECONFIG ?? '' } })
    : new KtraceProcess(argv, { before: [TOOL, 'exec'] });
}

function run([program = '', ...argv]: readonly string[], input = ''): Promise<Output> {
  return new Promise((resolve, reject) => {
    const options = { timeout: COMMAND_MS, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(program, argv, options, (error, stdout, stderr) => {
      if (error === null) return resolve({ stdout, stderr });
      reject(new Error(`${[program, ...argv].join(' ')}: ${error.message}\n${stderr}`, { cause: error }));
    });
    // A command that reads nothing may be gone before it got everything.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}
