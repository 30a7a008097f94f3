import type { Command, CommandUnknownOpts } from '@commander-js/extra-typings';
import { addAgent } from './commands/agent.ts';
import { addDoctor } from './commands/doctor.ts';
import { addDump } from './commands/dump.ts';
import { addFilter } from './commands/filter.ts';
import { addFollow } from './commands/follow.ts';
import { addGate } from './commands/gate.ts';
import { addGrants } from './commands/grant.ts';
import { addInstall } from './commands/install.ts';
import { addLab } from './commands/lab.ts';
import { addRead } from './commands/read.ts';
import { addStatus } from './commands/status.ts';
import { addUninstall } from './commands/uninstall.ts';
import { addCompletion } from './completion.ts';
import { CliCommand, type Done } from './options/command.ts';
import { readVersion } from './options/version.ts';

/**
 * The command line. Each command's own modules are loaded when it runs, so that help is quick.
 * `done` takes the exit code of the command that ran; `running` the command that runs, or whose words are not understood.
 */
export function createProgram(done: Done, running: (command: CommandUnknownOpts) => void = () => undefined): Command {
  const program = new CliCommand(process.env['KTRACE_CALLED'] || 'ktrace', running)
    .enablePositionalOptions()
    .description("See what happens to a pod's packets: which interface, which translation, which drop, by pod and Service name.")
    .version(readVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .showSuggestionAfterError()
    .configureHelp({
      sortSubcommands: false,
      helpWidth: 110,
      subcommandTerm: (command) => `${command.name()} ${command.usage()}`.trim(),
    })
    .exitOverride()
    .hook('preAction', (_, command) => running(command));
  program.addHelpText('after', ENVIRONMENT);
  program.commandsGroup('Packets:');
  addFollow(program, done);
  addDump(program, done);
  addRead(program, done);
  addFilter(program, done);
  program.commandsGroup('A cluster with ktrace, and who may follow in it:');
  addInstall(program, done);
  addUninstall(program, done);
  addDoctor(program, done);
  addStatus(program, done);
  addGrants(program, done);
  program.commandsGroup('Without a cluster:');
  addLab(program, done);
  program.commandsGroup('Run by Kubernetes:');
  addAgent(program, done);
  addGate(program, done);
  program.commandsGroup('Others:');
  addCompletion(program, done);
  const help = program.createCommand('help').argument('[command]').helpOption(false);
  help.description('show help of a command').helpGroup('Others:');
  // Its type is that of a command without arguments.
  program.addHelpCommand(help as unknown as Command);
  program
    .command('version')
    .description('print the version')
    .action(() => {
      process.stdout.write(`${readVersion()}\n`);
    });
  return program;
}

const ENVIRONMENT = `
Environment:
  KUBECONFIG         the kubeconfig; also several, as kubectl takes them
  KTRACE_NAMESPACE   where ktrace is installed; default: ktrace
  KTRACE_LAB_DIR     where labs keep their files
  KTRACE_DEBUG=1     errors tell their place in the code
  NO_COLOR           no colours

Exit codes: 0 ok, 1 failure, 2 usage, 3 no agent reachable, 4 not authorized, 5 incomplete with --strict, 130 interrupted.`;
