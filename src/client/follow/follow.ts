import { badArgument } from '../../util/errors.ts';
import { createApi } from '../cluster/api.ts';
import { contextNamespace, kubeSurroundings, loadKubeConfig } from '../cluster/kubeconfig.ts';
import { readFilter } from '../merge/follow-filter.ts';
import { checkCaptureGoesTo } from '../output/capture-writer.ts';
import { readFilterFile } from './filter-file.ts';
import { pastHeaders } from './live-filter.ts';
import { followLocally } from './local.ts';
import type { FollowIo, FollowOptions } from './options.ts';
import { ReadyFile } from './ready-file.ts';
import { followRemotely } from './remote.ts';

/** Follows packets until interrupted, or for as long and as many as asked. Gives the exit code; throws KtraceError. */
export async function runFollow(options: FollowOptions, io: FollowIo): Promise<number> {
  // Mistakes in the words are told before any cluster is asked.
  if (options.output === 'pcapng') checkCaptureGoesTo(io.stdout);
  const text = filterText(options);
  const filter = await readFilter(text, io.lookUp, options.drops);
  const config = loadKubeConfig(
    options,
    kubeSurroundings(io.findLab, (text) => io.stderr.write(`ktrace: ${text}\n`)),
  );
  const targets = options.asked.targetsIn(contextNamespace(config));
  const readyFile = options.readyFile === undefined ? undefined : new ReadyFile(options.readyFile);
  for (const note of pastHeaders(filter, options.snapBytes)) io.stderr.write(`ktrace: ${note}\n`);
  const surroundings = {
    options,
    io,
    config,
    targets,
    filter,
    filterText: text,
    readyFile,
    api: createApi(config, options.requestTimeoutMs),
  };
  try {
    return await (options.local === true ? followLocally(surroundings) : followRemotely(surroundings));
  } finally {
    readyFile?.close();
  }
}

/** The filter's words, of the command line or of a file. Throws usage errors. */
function filterText({ asked: { filter }, filterFile }: FollowOptions): string {
  if (filterFile === undefined) return filter;
  if (filter !== '') throw badArgument('-F', 'no filter beside a file of one', filter);
  return readFilterFile(filterFile);
}
