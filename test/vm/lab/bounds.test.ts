import { proveLabFiles } from './files.ts';

/** How many records a second one pod may cost. */
proveLabFiles(['kernel/counts/rates']);
