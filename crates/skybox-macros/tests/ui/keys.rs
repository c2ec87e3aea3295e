use skybox::{App, Result};

macro_rules! types {
    ($($name:ident),*) => { $(#[derive(Default)] struct $name;)* };
}
types!(Cores, Memory, Label, Bound, None, Near, Slip, Unknown, Config, Mark, Idle, Awake, Spawned, Twice);

#[skybox::module(cpu = 0)]
impl Cores {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(memory = "lots")]
impl Memory {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(on = "arm64")]
impl Label {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(concurrency = 0, restart = "once")]
impl Bound {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(replicas = 0)]
impl None {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(near)]
impl Near {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(replica = 2)]
impl Slip {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(colour = "red")]
impl Unknown {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(start_wait = "1s")]
impl Config {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(idempotent)]
impl Mark {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(idle = "2m")]
impl Idle {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(awake = 100)]
impl Awake {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(spawned, replicas = 2)]
impl Spawned {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module(cpu = 1, cpu = 2)]
impl Twice {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

struct Keyed;

#[skybox::module(keyed, replicas = 2)]
impl Keyed {
    fn start(_app: &App, _user: &str) -> Self {
        Keyed
    }
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}
