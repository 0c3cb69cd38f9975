import t from 'tap';
import { requires } from '../support/requires.ts';
import { NEEDS_BOARD } from './board.ts';
import { servicesLive } from './init-scenario.ts';

t.test('under busybox', requires(...NEEDS_BOARD, 'netstat', 'faketime'), (t) => servicesLive(t, 'busybox'));
