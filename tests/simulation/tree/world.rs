//! Nodes, the ways between them, and what is under way there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use fastrand::Rng;
use monoport::cluster::tree::{Answer, Asked, Asker, Child, Next, Path, Search, answer};
use monoport::limits::{FORWARD_ANSWER, LINK_DESERTED, LINK_DOUBTED, LINK_LOOK, LINK_SILENT};

use super::Shape;

/// The node with the publisher.
pub const ORIGIN: usize = 0;

/// What a question costs the node that is asked, in microseconds of one core.
const SERVE_US: u64 = 200;

const ZONES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A child as its parent knows it.
pub struct Kid {
    pub node: usize,
    below: u32,
}

/// What a node knows.
#[derive(Default)]
pub struct Node {
    zone: usize,
    pub is_alive: bool,
    /// How often it was started.
    life: u32,
    died_us: u64,
    /// From whom it takes the stream.
    pub parent: Option<usize>,
    /// The path by which that has it, as it was told last, and the last that led anywhere.
    pub above: Path,
    known: Path,
    /// When its parent said so, by the order of all that was sent: what it said before is too late.
    told: u64,
    pub children: Vec<Kid>,
    search: Option<Search<usize>>,
    /// Tells the answer it waits for from those it does not wait for any more.
    token: u32,
    /// The one it takes the stream from no more.
    lost: Option<usize>,
    began_us: u64,
    /// When it was cut off.
    pub gap_from_us: Option<u64>,
    busy_until_us: u64,
}

enum Event {
    /// Goes on with its search.
    Seek {
        node: usize,
        token: u32,
    },
    Asked {
        of: usize,
        by: usize,
        token: u32,
    },
    Served {
        of: usize,
        by: usize,
        token: u32,
    },
    Refused {
        to: usize,
        token: u32,
    },
    SentDown {
        to: usize,
        from: usize,
        child: usize,
        token: u32,
    },
    Taken {
        to: usize,
        by: usize,
        path: Path,
        token: u32,
    },
    /// The first media of a new link.
    Begins {
        to: usize,
        by: usize,
    },
    Told {
        to: usize,
        by: usize,
        path: Path,
        number: u64,
    },
    Noticed {
        by: usize,
        parent: usize,
        life: u32,
    },
    Left {
        parent: usize,
        child: usize,
    },
    Deserted {
        parent: usize,
        child: usize,
        life: u32,
    },
    Revives(usize),
}

pub struct World {
    pub nodes: Vec<Node>,
    pub random: Rng,
    pub gaps: Vec<Duration>,
    pub joins: Vec<Duration>,
    pub most_origin_children: usize,
    /// When the origin was asked, in tenths of a second.
    pub asked: BTreeMap<u64, usize>,
    /// Loops that came to be, and were broken.
    pub loops: usize,
    now_us: u64,
    most: u32,
    /// One way between zones, in microseconds.
    ways: BTreeMap<(usize, usize), u64>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    made: u64,
}

pub fn number(node: usize) -> u16 {
    u16::try_from(node + 1).expect("a number of a node")
}

fn node_of(number: u16) -> usize {
    usize::from(number) - 1
}

impl World {
    pub fn new(shape: Shape, seed: u64) -> World {
        let Shape { edges, zones, most } = shape;
        let mut random = Rng::with_seed(seed);
        let mut ways = BTreeMap::new();
        for one in 0..zones {
            ways.insert((one, one), 500);
            for other in 0..one {
                let way = random.u64(5_000..80_000);
                ways.extend([((one, other), way), ((other, one), way)]);
            }
        }
        let node = |place: usize| Node { zone: place % zones, is_alive: true, ..Node::default() };
        World {
            nodes: (0..=edges).map(node).collect(),
            random,
            gaps: Vec::new(),
            joins: Vec::new(),
            most_origin_children: 0,
            asked: BTreeMap::new(),
            loops: 0,
            now_us: 0,
            most,
            ways,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            made: 0,
        }
    }

    fn at(&mut self, after_us: u64, event: Event) {
        self.queue.push(Reverse((self.now_us + after_us, self.made)));
        self.events.insert(self.made, event);
        self.made += 1;
    }

    /// How long a datagram takes, in microseconds.
    fn way(&mut self, one: usize, other: usize) -> u64 {
        let way = self.ways[&(self.nodes[one].zone, self.nodes[other].zone)];
        way * self.random.u64(90..130) / 100
    }

    /// All come within two seconds.
    pub fn join_all(&mut self) {
        for node in 1..self.nodes.len() {
            let after = self.random.u64(0..2_000_000);
            self.at(after, Event::Revives(node));
        }
        self.pass(Duration::from_secs(15));
        let left = (1..self.nodes.len()).filter(|node| !self.is_fed(*node)).count();
        assert_eq!((left, self.joins.len()), (0, self.nodes.len() - 1), "all have joined");
        (self.most_origin_children, self.asked) = (0, BTreeMap::new());
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now_us + time.as_micros() as u64;
        while let Some(Reverse((at, number))) = self.queue.peek().copied() {
            if at > until {
                break;
            }
            self.queue.pop();
            self.now_us = at;
            let event = self.events.remove(&number).expect("it is under way");
            self.happen(event);
        }
        self.now_us = until;
    }

    pub fn revive_after(&mut self, node: usize, after: Duration) {
        self.at(after.as_micros() as u64, Event::Revives(node));
    }

    pub fn die(&mut self, node: usize) {
        if !self.nodes[node].is_alive {
            return;
        }
        for cut in self.below(node).split_off(1) {
            let now = self.now_us;
            let cut = &mut self.nodes[cut];
            if cut.is_alive {
                cut.gap_from_us.get_or_insert(now);
            }
        }
        let life = self.nodes[node].life;
        for kid in std::mem::take(&mut self.nodes[node].children) {
            if self.nodes[kid.node].parent == Some(node) {
                let look = self.random.u64(0..LINK_LOOK.as_micros() as u64);
                let after = self.way(node, kid.node) + LINK_SILENT.as_micros() as u64 + look;
                self.at(after, Event::Noticed { by: kid.node, parent: node, life });
            }
        }
        if let Some(parent) = self.nodes[node].parent {
            let after = LINK_DESERTED.as_micros() as u64;
            self.at(after, Event::Deserted { parent, child: node, life });
        }
        let Node { zone, token, .. } = self.nodes[node];
        self.nodes[node] = Node {
            zone,
            life: life + 1,
            died_us: self.now_us,
            token: token + 1,
            ..Node::default()
        };
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Seek { node, token } => self.seek(node, token),
            Event::Asked { of, by, token } => {
                if self.nodes[of].is_alive {
                    if of == ORIGIN {
                        *self.asked.entry(self.now_us / 100_000).or_default() += 1;
                    }
                    let until = self.nodes[of].busy_until_us.max(self.now_us) + SERVE_US;
                    self.nodes[of].busy_until_us = until;
                    self.at(until - self.now_us, Event::Served { of, by, token });
                }
            }
            Event::Served { of, by, token } => self.serve(of, by, token),
            Event::Refused { to, token } => self.seek(to, token),
            Event::SentDown { to, from, child, token } => {
                if self.waits(to, token) {
                    self.nodes[to].search.as_mut().expect("it waits").sent_down(from, child);
                    self.seek(to, token);
                }
            }
            Event::Taken { to, by, path, token } => self.taken(to, by, path, token),
            Event::Begins { to, by } => self.begins(to, by),
            Event::Told { to, by, path, number } => {
                if self.nodes[to].parent == Some(by) && self.nodes[to].told < number {
                    self.nodes[to].told = number;
                    self.told(to, path);
                }
            }
            Event::Noticed { by, parent, life } => {
                let is_new = self.nodes[parent].life == life;
                if self.nodes[by].parent == Some(parent) && !is_new {
                    self.lose_parent(by);
                }
            }
            Event::Left { parent, child } => {
                if self.nodes[child].parent != Some(parent) {
                    self.nodes[parent].children.retain(|kid| kid.node != child);
                }
            }
            Event::Deserted { parent, child, life } => {
                let Node { is_alive, life: now, parent: of, .. } = self.nodes[child];
                if now != life && !(is_alive && of == Some(parent)) {
                    self.nodes[parent].children.retain(|kid| kid.node != child);
                }
            }
            Event::Revives(node) => self.revive(node),
        }
    }

    fn revive(&mut self, node: usize) {
        let Node { zone, life, token, .. } = self.nodes[node];
        if self.nodes[node].search.is_some() || self.nodes[node].parent.is_some() {
            return;
        }
        let search = Some(Search::new(ORIGIN));
        let (is_alive, token, began_us) = (true, token + 1, self.now_us);
        self.nodes[node] =
            Node { zone, is_alive, life, token, search, began_us, ..Node::default() };
        self.seek(node, token);
    }

    fn waits(&self, node: usize, token: u32) -> bool {
        let Node { is_alive, token: now, search, .. } = &self.nodes[node];
        *is_alive && *now == token && search.is_some()
    }

    fn seek(&mut self, node: usize, token: u32) {
        if !self.waits(node, token) {
            return;
        }
        let random = &mut self.random;
        let asker = &mut self.nodes[node];
        asker.token += 1;
        let token = asker.token;
        let search = asker.search.as_mut().expect("it waits");
        match search.next(|below| random.u64(0..below)) {
            Next::Ask(other, patience) => {
                // A connection, and the request.
                let after = (0..3).map(|_| self.way(node, other)).sum();
                self.at(after, Event::Asked { of: other, by: node, token });
                let patience = patience.unwrap_or(FORWARD_ANSWER).as_micros() as u64;
                self.at(patience, Event::Seek { node, token });
            }
            Next::Resolve(after) => {
                search.resolved(ORIGIN);
                self.at(after.as_micros() as u64, Event::Seek { node, token });
            }
        }
    }

    fn serve(&mut self, of: usize, by: usize, token: u32) {
        if !self.nodes[of].is_alive {
            return;
        }
        let path = self.path(of);
        let asked =
            Asked { zone: ZONES[self.nodes[of].zone], path, is_leaving: false, most: self.most };
        let Node { zone, lost, .. } = self.nodes[by];
        let asker = Asker { node: number(by), zone: ZONES[zone], lost: lost.map(number) };
        // Those that were not heard for a while are named to nobody.
        let is_heard = |kid: &&mut Kid, nodes: &[Node], now: u64| {
            let node = &nodes[kid.node];
            node.is_alive || now - node.died_us < LINK_DOUBTED.as_micros() as u64
        };
        let mut children = std::mem::take(&mut self.nodes[of].children);
        let mut fit: Vec<&mut Kid> = children.iter_mut().collect();
        fit.retain(|kid| is_heard(kid, &self.nodes, self.now_us));
        let named = fit.iter().map(|kid| {
            let zone = ZONES[self.nodes[kid.node].zone];
            Child { node: number(kid.node), zone, below: kid.below }
        });
        let named: Vec<Child<'_>> = named.collect();
        let answered = answer(&asked, &asker, &named);
        let sent_to = match answered {
            Answer::Ask(place) => {
                fit[place].below += 1;
                Some(fit[place].node)
            }
            _ => None,
        };
        self.nodes[of].children = children;
        let after = self.way(of, by);
        match (answered, sent_to) {
            (Answer::Take, _) => {
                let below = self.nodes[by].children.len() as u32;
                let children = &mut self.nodes[of].children;
                children.retain(|kid| kid.node != by);
                children.push(Kid { node: by, below });
                if of == ORIGIN {
                    self.most_origin_children = self.most_origin_children.max(children.len());
                }
                self.at(after, Event::Taken { to: by, by: of, path, token });
            }
            (_, Some(child)) => self.at(after, Event::SentDown { to: by, from: of, child, token }),
            _ => self.at(after, Event::Refused { to: by, token }),
        }
    }

    fn taken(&mut self, to: usize, by: usize, path: Path, token: u32) {
        if !self.waits(to, token) {
            let after = self.way(to, by);
            return self.at(after, Event::Left { parent: by, child: to });
        }
        let now = self.now_us;
        let node = &mut self.nodes[to];
        let before = node.parent.replace(by).filter(|before| *before != by);
        (node.search, node.token) = (None, node.token + 1);
        if node.lost.is_none() {
            self.joins.push(Duration::from_micros(now - node.began_us));
        }
        if let Some(before) = before {
            let after = self.way(to, before);
            self.at(after, Event::Left { parent: before, child: to });
        }
        if self.is_in_loop(to) {
            self.loops += 1;
        }
        let after = self.way(to, by) + self.way(to, by);
        self.at(after, Event::Begins { to, by });
        self.told(to, path);
    }

    fn begins(&mut self, to: usize, by: usize) {
        if self.nodes[to].parent != Some(by) {
            return;
        }
        if !self.nodes[by].is_alive {
            // It has died before it sent anything: that is silence, too.
            return self.lose_parent_soon(to, by);
        }
        // A link says so at its beginning, and again and again.
        self.nodes[to].told = self.made;
        self.told(to, self.path(by));
        if !self.is_fed(to) {
            return;
        }
        for fed in self.below(to) {
            let from = self.nodes[fed].gap_from_us.take();
            self.gaps.extend(from.map(|from| Duration::from_micros(self.now_us - from)));
        }
    }

    fn lose_parent_soon(&mut self, by: usize, parent: usize) {
        let after = LINK_SILENT.as_micros() as u64;
        let life = self.nodes[parent].life.wrapping_sub(1);
        self.at(after, Event::Noticed { by, parent, life });
    }

    fn lose_parent(&mut self, node: usize) {
        (self.nodes[node].parent, self.nodes[node].above) = (None, Path::default());
        self.tell_children(node, Path::default());
        self.look_for_another(node);
    }

    fn look_for_another(&mut self, node: usize) {
        let lost = &mut self.nodes[node];
        let above: Vec<usize> = lost.known.nodes().map(node_of).collect();
        let others = &above[..above.len().saturating_sub(1)];
        lost.search = Some(Search::after(others.iter().copied()));
        (lost.lost, lost.token) = (above.last().copied(), lost.token + 1);
        let token = lost.token;
        self.seek(node, token);
    }

    /// A node hears by which path its parent has the stream.
    fn told(&mut self, node: usize, above: Path) {
        let before = self.path(node);
        self.nodes[node].above = above;
        if !above.is_empty() {
            self.nodes[node].known = above;
        }
        let path = above.to(number(node));
        let own = path.unwrap_or_default();
        if own != before {
            self.tell_children(node, own);
        }
        let is_misplaced = !above.is_empty() && path.is_err();
        if is_misplaced && self.nodes[node].search.is_none() {
            self.look_for_another(node);
        }
    }

    fn tell_children(&mut self, node: usize, path: Path) {
        let kids: Vec<usize> = self.nodes[node].children.iter().map(|kid| kid.node).collect();
        for kid in kids {
            let after = self.way(node, kid);
            let number = self.made;
            self.at(after, Event::Told { to: kid, by: node, path, number });
        }
    }
}
