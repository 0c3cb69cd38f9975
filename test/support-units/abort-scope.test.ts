import { getEventListeners } from 'node:events';
import t from 'tap';
import { abortScope } from '../../src/support/abort-scope.ts';

t.test('it ends with the signal, for the same reason, also where that was aborted before', async (t) => {
  const outer = new AbortController();
  const { scope } = abortScope(outer.signal);
  t.equal(scope.signal.aborted, false);
  outer.abort(new Error('the service stops'));
  t.match(scope.signal.reason, { message: 'the service stops' });
  t.match(abortScope(outer.signal).scope.signal.reason, { message: 'the service stops' });
});

t.test('it may end alone, and nothing of it is left at the signal', async (t) => {
  const outer = new AbortController();
  const { scope, release } = abortScope(outer.signal);
  scope.abort();
  release();
  t.equal(outer.signal.aborted, false);
  t.strictSame(getEventListeners(outer.signal, 'abort'), []);
});
