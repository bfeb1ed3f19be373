//! Whether an operation costs more with more data: a million users and event names, compared with ten.

use std::time::{Duration, Instant};

use memchr::memmem;

use super::million::{self, FEW, MANY, NAMED, PER_TENANT, PLAIN};
use crate::http::Http;
use crate::lab::Lab;
use crate::process::{until_idle, watched};
use crate::seed::{self, Seed};
use crate::server::Server;
use crate::statistics::{Quantiles, Rounds, bytes, nanos, number};
use crate::table::Row;
use crate::targets::broker;
use crate::{Result, message};

const GOAL: f64 = 1.5;
/// The number of users that sign in. All others have no password.
const SIGNERS: u32 = 4;
const PASSWORD: &str = "correct horse battery staple";
const ROUNDS: usize = 20;

/// The operations, and their repetitions per round.
const OPERATIONS: [(&str, Operation, u32); 4] = [
    ("insert", Operation::Insert, 100),
    ("verify", Operation::Verify, 100),
    ("connect, to the last of 10 latest events", Operation::Connect, 50),
    ("login", Operation::Login, 4),
];

#[derive(Clone, Copy)]
enum Operation {
    Insert,
    Verify,
    Connect,
    Login,
}

/// A server with a large or a small database.
struct Side {
    server: Server,
    http: Http,
    users: u32,
    names: u32,
    random: u64,
}

/// The results of a round: nanoseconds of an operation, and of the server's CPU for it.
type Costs = (Vec<f64>, Vec<f64>);

/// Runs this scenario.
pub fn run(lab: &mut Lab) -> Result<()> {
    let few = lab.directory()?;
    let mut seed = Seed::open(few.path())?;
    for user in (0..FEW).chain(PER_TENANT..PER_TENANT + FEW) {
        seed.user(&format!("user{user}"), &million::tenant_of(user))?;
    }
    million::add_names(&mut seed, NAMED, "user0", FEW)?;
    million::add_names(&mut seed, PLAIN, "user100", FEW)?;
    seed.close()?;
    let many = million::database(lab)?;
    let (many, few) = (broker::start(lab, &many, None, &[])?, broker::start(lab, few.path(), None, &[])?);
    // The server reads the large database after its start.
    [&many, &few].into_iter().try_for_each(|server| until_idle(server.process()))?;
    let (mut many, mut few) = (Side::new(many, MANY, MANY)?, Side::new(few, FEW, FEW)?);

    for (what, operation, times) in OPERATIONS {
        let (mut of_many, mut of_few) = (Costs::default(), Costs::default());
        for round in 0..=lab.times(ROUNDS) {
            let mut unused = Costs::default();
            let counts = round > 0;
            many.round(operation, times, if counts { &mut of_many } else { &mut unused })?;
            few.round(operation, times, if counts { &mut of_few } else { &mut unused })?;
        }
        report(lab, what, of_many, of_few);
    }
    let resident = [&many, &few].map(|side| side.server.process().resident());
    let [many, few] = resident;
    let (many, few) = (number(many?), number(few?));
    lab.table
        .add(Row::new("resident after that, 1,000,000 users and names", bytes(many)).beside(bytes(few), many / few));
    Ok(())
}

fn report(lab: &mut Lab, what: &str, many: Costs, few: Costs) {
    let [many_time, many_cpu, few_time, few_cpu] = [many.0, many.1, few.0, few.1].map(Rounds::new);
    let show = |time: &Rounds, cpu: &Rounds| format!("{}, CPU {}", time.show(nanos), nanos(cpu.median()));
    // The worse of the two.
    let ratio = (many_time.median() / few_time.median()).max(many_cpu.median() / few_cpu.median());
    lab.table.add(
        Row::new(format!("{what}, among 1,000,000 users and names"), show(&many_time, &many_cpu))
            .beside(format!("among 10: {}", show(&few_time, &few_cpu)), ratio)
            .goal(format!("<= {GOAL} x"), ratio <= GOAL),
    );
}

impl Side {
    fn new(server: Server, users: u32, names: u32) -> Result<Self> {
        let mut http = Http::connect(server.address)?;
        for signer in 0..SIGNERS {
            let body = format!(
                r#"{{"username":"signer{signer}","password":"{PASSWORD}","tenant_name":"signers","admin_token":"{}"}}"#,
                seed::ADMIN_TOKEN
            );
            let mut request = Vec::new();
            message::write_post("/create_user", "", body.as_bytes(), &mut request);
            http.send(&request)?;
            // A kept database already contains them.
            if let Err(why) = http.answer()
                && !why.contains("username already taken")
            {
                return Err(why);
            }
            http = Http::connect(server.address)?;
        }
        Ok(Self { server, http, users, names, random: 0x9E37_79B9_7F4A_7C15 })
    }

    fn round(&mut self, operation: Operation, times: u32, costs: &mut Costs) -> Result<()> {
        let requests = (0..times).map(|_| self.request(operation)).collect::<Result<Vec<_>>>()?;
        let process = self.server.process();
        let perform = || requests.iter().map(|request| self.perform(operation, request)).collect::<Result<Vec<_>>>();
        let (mut took, usage) = watched(process, perform)?;
        costs.0.push(number(Quantiles::of(&mut took).p50));
        costs.1.push(number(usage.cpu) / f64::from(times));
        Ok(())
    }

    /// The request of an operation for a random user.
    fn request(&mut self, operation: Operation) -> Result<Vec<u8>> {
        let mut request = Vec::new();
        match operation {
            Operation::Insert => {
                let user = self.draw(self.users.min(PER_TENANT));
                let name = self.draw(self.names);
                let mut body = Vec::new();
                message::write_insert(&format!("name{name}"), name, &mut body);
                message::write_post("/insert", &authorization(user)?, &body, &mut request);
            }
            Operation::Verify => {
                let user = self.draw(self.users);
                request = message::get("/verify", &authorization(user)?);
            }
            Operation::Connect => {
                // A user of a tenant that is the same on both sides, and into which nothing was inserted since.
                let user = PER_TENANT + self.draw(FEW);
                request = message::get("/sse", &authorization(user)?);
            }
            Operation::Login => {
                let signer = self.draw(SIGNERS);
                let body = format!(r#"{{"username":"signer{signer}","password":"{PASSWORD}"}}"#);
                message::write_post("/login", "", body.as_bytes(), &mut request);
            }
        }
        Ok(request)
    }

    /// Performs the operation, and returns its nanoseconds.
    fn perform(&mut self, operation: Operation, request: &[u8]) -> Result<u64> {
        let took = |begun: Instant| u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if !matches!(operation, Operation::Connect) {
            let begun = Instant::now();
            self.http.ask(request)?;
            return Ok(took(begun));
        }
        let mut http = Http::connect(self.server.address)?;
        let (mut received, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
        let begun = Instant::now();
        http.send(request)?;
        while memmem::find_iter(&received, message::MARKER).count() < FEW as usize {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err("the latest events did not arrive".to_owned());
            }
            let length = http.receive(&mut buffer)?;
            received.extend_from_slice(&buffer[..length]);
        }
        Ok(took(begun))
    }

    /// A number below `end`: Marsaglia's xorshift, which is random enough to miss caches.
    fn draw(&mut self, end: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from(self.random % u64::from(end)).unwrap_or_default()
    }
}

fn authorization(user: u32) -> Result<String> {
    let token = seed::token(&format!("user{user}"), &million::tenant_of(user))?;
    Ok(format!("authorization: Bearer {token}\r\n"))
}
