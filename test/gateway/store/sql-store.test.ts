import { storeContract } from '../store-contract.ts';
import { open } from './support.ts';

storeContract('SQLite', async (t) => (await open(t.testdir())).store);
