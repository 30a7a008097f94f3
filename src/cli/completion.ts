import { Argument, type Command } from '@commander-js/extra-typings';
import { COMPLETION_SCRIPTS } from './completion-scripts.ts';
import type { Done } from './options/command.ts';

const SHELLS = Object.keys(COMPLETION_SCRIPTS) as (keyof typeof COMPLETION_SCRIPTS)[];

const EXAMPLES = `
Examples:
  source <(ktrace completion bash)                            in this shell
  ktrace completion bash > /etc/bash_completion.d/ktrace      in every bash
  ktrace completion zsh > "\${fpath[1]}/_ktrace"               in every zsh
  ktrace completion fish > ~/.config/fish/completions/ktrace.fish

Names of pods, Services, nodes and namespaces come from the cluster, for at most two seconds.
kubectl completes "kubectl ktrace" itself where kubectl_complete-ktrace is on the path.`;

/** `ktrace completion SHELL`, and what its scripts ask: `ktrace __complete WORD …`, which the shell's user never sees. */
export function addCompletion(program: Command, done: Done): void {
  program
    .command('completion')
    .description('print the script that makes a shell complete ktrace')
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .addHelpText('after', EXAMPLES)
    .action((shell: keyof typeof COMPLETION_SCRIPTS) => {
      process.stdout.write(COMPLETION_SCRIPTS[shell]);
    });
  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (words: string[]) => {
      const [{ complete }, { clusterNames }, { kubeSurroundings }, { findStandingLab }] = await Promise.all([
        import('./complete.ts'),
        import('../client/cluster/completion.ts'),
        import('../client/cluster/kubeconfig.ts'),
        import('../lab/machine/state.ts'),
      ]);
      const around = kubeSurroundings(
        () => findStandingLab(),
        () => undefined,
      );
      const { candidates, directive } = await complete(program, words, (kube) => clusterNames(kube, around));
      process.stdout.write(`${[...candidates, `:${directive}`].join('\n')}\n`);
      done(0);
    });
}
