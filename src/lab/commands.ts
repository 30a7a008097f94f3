import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { EXIT, KtraceError } from '../util/errors.ts';
import { Lab } from './lab.ts';
import { namespacesOf, removeLab } from './machine/remove.ts';
import { toolEnvironment } from './machine/run.ts';
import { findStandingLab, labDirectory, labRoot, readState } from './machine/state.ts';
import { labUp } from './up.ts';

export interface LabIo {
  stdout: Writable;
  stderr: Writable;
}

/** `lab up`: brings a lab up, tells of it on stderr, and says how to use it. Gives the exit code. */
export async function runLabUp(options: { name?: string; agents?: boolean; traffic?: boolean }, io: LabIo): Promise<number> {
  const started = performance.now();
  let isInterrupted = false;
  const onSignal = () => {
    isInterrupted = true;
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  const lab = await labUp({ ...options, records: true, progress: (text) => io.stderr.write(`lab: ${text}\n`) });
  process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  if (isInterrupted) {
    await lab.down();
    io.stderr.write(`lab: interrupted, ${lab.name} is down again\n`);
    return EXIT.interrupted;
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const flag = lab.name === 'default' ? '' : ` --name ${lab.name}`;
  const follow = lab.hasAgents ? `  bin/ktrace follow pod/frontend-88237173-jdfgg --kubeconfig ${lab.kubeconfig}\n` : '';
  io.stderr.write(
    `lab: ${lab.name} is up after ${seconds} s\n${follow}` +
      `  bin/ktrace lab exec${flag} pod/frontend-88237173-jdfgg -- ping -c 3 ${lab.pod('redis-master-343230949-2qrp7').ip}\n` +
      `  bin/ktrace lab status${flag}\n  bin/ktrace lab down${flag}\n`,
  );
  return EXIT.ok;
}

/** `lab status`: nodes, pods with their addresses, the state of the agents. */
export async function runLabStatus(options: { name?: string }, io: LabIo): Promise<number> {
  const lab = standingLab(options.name);
  const agents = await Promise.all(lab.nodes.map((node) => agentState(lab, node.name)));
  const rows = [
    ['NODE', 'ADDRESSES', 'PODS', 'AGENT'],
    ...lab.nodes.map((node, index) => [node.name, `${node.ip} ${node.ip6}`, node.podCidr, agents[index] ?? '']),
    [],
    ['NAMESPACE', 'POD', 'NODE', 'ADDRESSES', 'INTERFACE'],
    ...lab.pods.map((pod) => [pod.namespace, pod.name, pod.node, `${pod.ip} ${pod.ip6}`, pod.veth]),
  ];
  io.stdout.write(`lab         ${lab.name}\nkubeconfig  ${lab.kubeconfig}\nlogs        ${lab.directory}/log\n\n${table(rows)}`);
  return EXIT.ok;
}

/**
 * `lab exec TARGET -- COMMAND`: runs a command in a node's or pod's namespace with this terminal; gives its exit code.
 *
 * @param argv the command, with or without the `--` before it
 */
export function runLabExec(name: string | undefined, target: string, argv: readonly string[]): Promise<number> {
  const namespace = standingLab(name).namespace(target);
  const command = argv[0] === '--' ? argv.slice(1) : argv;
  const child = spawn('ip', ['netns', 'exec', namespace, ...command], { stdio: 'inherit', env: toolEnvironment() });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    // The terminal sends an interrupt to both; the command decides what it means.
    const ignore = () => undefined;
    process.on('SIGINT', ignore);
    child.on('close', (code) => {
      process.off('SIGINT', ignore);
      resolve(code ?? EXIT.failure);
    });
  });
}

/** `lab down`: takes a lab away, a whole or a half one; nothing to do is no failure. */
export async function runLabDown(options: { name?: string }, io: LabIo): Promise<number> {
  const name = options.name ?? findStandingLab()?.name ?? 'default';
  const isThere = existsSync(labDirectory(name)) || namespacesOf(name).length > 0;
  await removeLab(name);
  io.stderr.write(isThere ? `lab: ${name} is down\n` : `lab: there was no lab ${name}\n`);
  return EXIT.ok;
}

function standingLab(name: string | undefined): Lab {
  const found = name ?? findStandingLab()?.name;
  if (found !== undefined && readState(labDirectory(found))?.phase === 'up') return new Lab(found);
  throw new KtraceError('KTRACE_E_LAB_UNKNOWN', `No lab ${found ?? 'default'} stands in ${labRoot()}`, {
    hint: 'Bring one up with `bin/ktrace lab up`, or name one of several with --name.',
  });
}

async function agentState(lab: Lab, node: string): Promise<string> {
  const agent = lab.agent(node);
  if (agent === undefined) return lab.hasAgents ? 'not running' : 'none';
  return (await lab.isAgentReady(node)) ? `ready, pid ${agent.pid}` : `not ready, pid ${agent.pid}`;
}

/** Columns as wide as their widest cell; an empty row parts two tables. */
function table(rows: readonly (readonly string[])[]): string {
  const parts = rows.findIndex((row) => row.length === 0);
  const blocks = parts < 0 ? [rows] : [rows.slice(0, parts), rows.slice(parts + 1)];
  return blocks
    .map((block) => {
      const width = (column: number) => Math.max(...block.map((row) => (row[column] ?? '').length));
      return block
        .map(
          (row) =>
            `${row
              .map((cell, column) => cell.padEnd(width(column)))
              .join('  ')
              .trimEnd()}\n`,
        )
        .join('');
    })
    .join('\n');
}
