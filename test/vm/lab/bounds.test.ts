import { proveLabFiles } from './files.ts';

/** What one pod may cost. */
proveLabFiles(['kernel/counts/flows', 'kernel/counts/rates']);
