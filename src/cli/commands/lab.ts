import type { Command } from '@commander-js/extra-typings';
import type { Done } from '../options/command.ts';

/** `ktrace lab up|status|exec|down`. */
export function addLab(program: Command, done: Done): void {
  // A command that is passed on has options of its own: its parents' end where it begins.
  program.enablePositionalOptions();
  const lab = program
    .command('lab')
    .enablePositionalOptions()
    .description('a small cluster out of network namespaces, to try things in (root)');
  lab
    .command('up')
    .description('bring a lab up')
    .option('--name <name>', "the lab's name")
    .option('--no-agents', 'without agents and gates')
    .option('--no-traffic', 'without the steady mix of traffic')
    .action(async (options) => done(await (await commands()).runLabUp(options, io())));
  lab
    .command('status')
    .description('nodes, pods and agents of a lab')
    .option('--name <name>', "the lab's name")
    .action(async (options) => done(await (await commands()).runLabStatus(options, io())));
  lab
    .command('exec')
    .description('run a command in a node or a pod')
    .argument('<target>', 'node/NAME, or pod/NAME')
    .argument('<command...>', 'the command, after --')
    .option('--name <name>', "the lab's name")
    .passThroughOptions()
    .action(async (target, argv, { name }) => done(await (await commands()).runLabExec(name, target, argv)));
  lab
    .command('down')
    .description('take a lab down')
    .option('--name <name>', "the lab's name")
    .action(async (options) => done(await (await commands()).runLabDown(options, io())));
}

function commands(): Promise<typeof import('../../lab/commands.ts')> {
  return import('../../lab/commands.ts');
}

function io(): { stdout: NodeJS.WriteStream; stderr: NodeJS.WriteStream } {
  return { stdout: process.stdout, stderr: process.stderr };
}
