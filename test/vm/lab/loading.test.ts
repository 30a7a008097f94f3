import { proveLabFiles } from './files.ts';

/** How programs are loaded, unloaded and loaded again. */
proveLabFiles(['kernel/load/load', 'kernel/load/unload']);
