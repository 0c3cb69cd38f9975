import t from 'tap';
import { needsFor, tryInstaller } from './installer-flow.ts';
import { releases } from './releases.ts';

// The other init systems, and all else that the installer can do, with the real program: `make test-upgrade`.
t.test(
  'installed, paired, reached, upgraded by who came through the tunnel, uninstalled',
  needsFor('systemd'),
  async (t) => {
    await tryInstaller(t, 'systemd', { make: await releases(t), parts: ['upgrade'] });
  },
);
