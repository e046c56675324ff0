//! Rows of a running data plane: the same words as on a capture.

use std::io;
use std::path::Path;
use std::time::Duration;

use fastpath::ipc::{ErrorReply, Page, Reply, Request};

use crate::cli::{self, ExchangesArgs, FlowsArgs, LiveArgs};
use crate::failure::{Done, Failure};
use crate::link::{Link, ask};
use crate::output::{self, Row, RowFormat, Rows};

/// Time between two questions of a command that follows.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// `fermata flows`: the flows seen last, newest first.
///
/// # Errors
/// When the data plane cannot be asked.
pub fn flows(socket: &Path, args: &FlowsArgs) -> Result<Done, Failure> {
    let request = Request::Flows { limit: args.limit };
    let rows = ask(&mut Link::connect(socket)?, &request, |reply| {
        if let Reply::Flows(rows) = reply { Some(rows) } else { None }
    })?;
    output::print_rows(&rows, args.output)?;
    Ok(Done::Wholly)
}

/// `fermata endpoints`.
///
/// # Errors
/// When the data plane cannot be asked.
pub fn endpoints(socket: &Path, args: &LiveArgs) -> Result<Done, Failure> {
    let rows = ask(&mut Link::connect(socket)?, &Request::Endpoints, |reply| {
        if let Reply::Endpoints(rows) = reply { Some(rows) } else { None }
    })?;
    output::print_rows(&rows, args.output)?;
    Ok(Done::Wholly)
}

/// `fermata clients`.
///
/// # Errors
/// When the data plane cannot be asked.
pub fn clients(socket: &Path, args: &LiveArgs) -> Result<Done, Failure> {
    let rows = ask(&mut Link::connect(socket)?, &Request::Clients, |reply| {
        if let Reply::Clients(rows) = reply { Some(rows) } else { None }
    })?;
    output::print_rows(&rows, args.output)?;
    Ok(Done::Wholly)
}

/// `fermata exchanges`.
///
/// # Errors
/// When the data plane cannot be asked.
pub fn exchanges(socket: &Path, args: &ExchangesArgs) -> Result<Done, Failure> {
    let request = |after, limit| Request::Exchanges { after, limit };
    follow(socket, args, request, |reply| {
        if let Reply::Exchanges(page) = reply { Some(page) } else { None }
    })
}

/// `fermata events`.
///
/// # Errors
/// When the data plane cannot be asked.
pub fn events(socket: &Path, args: &ExchangesArgs) -> Result<Done, Failure> {
    let request = |after, limit| Request::Events { after, limit };
    follow(
        socket,
        args,
        request,
        |reply| {
            if let Reply::Events(page) = reply { Some(page) } else { None }
        },
    )
}

/// Writes the newest rows of a sequence, and where `--follow` says so what comes after them.
fn follow<T: Row>(
    socket: &Path,
    args: &ExchangesArgs,
    request: impl Fn(u64, usize) -> Request,
    pick: impl Fn(Reply) -> Option<Page<T>>,
) -> Result<Done, Failure> {
    let mut link = Link::connect(socket)?;
    let mut rows = Rows::new::<T>(io::stdout().lock(), args.output);
    // All that is still there, to find the newest: a page ends where the sequence does.
    let mut newest: Vec<T> = Vec::new();
    let mut after = 0;
    loop {
        let page = ask(&mut link, &request(after, fastpath::ipc::ROWS_MAX), &pick)?;
        let ended = page.rows.len() < fastpath::ipc::ROWS_MAX;
        (after, newest) = (page.next, newest.into_iter().chain(page.rows).collect());
        let surplus = newest.len().saturating_sub(args.limit);
        newest.drain(..surplus);
        if ended {
            break;
        }
    }
    output::written(newest.iter().try_for_each(|row| rows.push(row)))?;
    if !args.follow {
        output::written(rows.finish::<T>())?;
        return Ok(Done::Wholly);
    }
    loop {
        output::written(rows.flush::<T>())?;
        std::thread::sleep(FOLLOW_INTERVAL);
        let page = ask(&mut link, &request(after, fastpath::ipc::ROWS_MAX), &pick)?;
        after = page.next;
        if page.missed > 0 {
            cli::report(&missed(page.missed), args.output != RowFormat::Table);
        }
        output::written(page.rows.iter().try_for_each(|row| rows.push(row)))?;
    }
}

/// Rows that the data plane dropped before they could be asked for.
fn missed(rows: u64) -> ErrorReply {
    ErrorReply {
        hint: Some("the data plane keeps the latest rows only; ask more often".to_owned()),
        ..ErrorReply::new("rows_missed", format!("{rows} rows were gone before they were read"))
    }
}
