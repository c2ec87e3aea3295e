//! Borrowed arguments becoming the callee's own.
//!
//! Each argument is either passed on or cloned by [`ToOwned`]. Which of the two is found from its type and from
//! the type the method owns it as, so that generated code need not spell it out.

/// Passed on as it is.
#[derive(Debug)]
pub enum Passed {}

/// Lent, and cloned.
#[derive(Debug)]
pub enum Cloned {}

/// One argument that can become an `O`.
pub trait OwnArgument<O, How> {
    /// The argument, owned.
    fn own(self) -> O;
}

impl<T> OwnArgument<T, Passed> for T {
    #[inline]
    fn own(self) -> T {
        self
    }
}

impl<T: ToOwned + ?Sized> OwnArgument<T::Owned, Cloned> for &T {
    #[inline]
    fn own(self) -> T::Owned {
        self.to_owned()
    }
}

/// All arguments of a call.
pub trait OwnArguments<O, How> {
    /// The arguments, owned.
    fn own(self) -> O;
}

macro_rules! own_arguments {
    ($($argument:ident $owned:ident $how:ident),*) => {
        impl<$($argument, $owned, $how),*> OwnArguments<($($owned,)*), ($($how,)*)> for ($($argument,)*)
        where
            $($argument: OwnArgument<$owned, $how>,)*
        {
            #[inline]
            #[allow(clippy::unused_unit, non_snake_case)]
            fn own(self) -> ($($owned,)*) {
                let ($($argument,)*) = self;
                ($($argument.own(),)*)
            }
        }
    };
}

own_arguments!();
own_arguments!(A1 O1 H1);
own_arguments!(A1 O1 H1, A2 O2 H2);
own_arguments!(A1 O1 H1, A2 O2 H2, A3 O3 H3);
own_arguments!(A1 O1 H1, A2 O2 H2, A3 O3 H3, A4 O4 H4);
own_arguments!(A1 O1 H1, A2 O2 H2, A3 O3 H3, A4 O4 H4, A5 O5 H5);
own_arguments!(A1 O1 H1, A2 O2 H2, A3 O3 H3, A4 O4 H4, A5 O5 H5, A6 O6 H6);
own_arguments!(A1 O1 H1, A2 O2 H2, A3 O3 H3, A4 O4 H4, A5 O5 H5, A6 O6 H6, A7 O7 H7);
own_arguments!(A1 O1 H1, A2 O2 H2, A3 O3 H3, A4 O4 H4, A5 O5 H5, A6 O6 H6, A7 O7 H7, A8 O8 H8);
own_arguments!(A1 O1 H1, A2 O2 H2, A3 O3 H3, A4 O4 H4, A5 O5 H5, A6 O6 H6, A7 O7 H7, A8 O8 H8, A9 O9 H9);
own_arguments!(A1 O1 H1, A2 O2 H2, A3 O3 H3, A4 O4 H4, A5 O5 H5, A6 O6 H6, A7 O7 H7, A8 O8 H8, A9 O9 H9,
    A10 O10 H10);
own_arguments!(A1 O1 H1, A2 O2 H2, A3 O3 H3, A4 O4 H4, A5 O5 H5, A6 O6 H6, A7 O7 H7, A8 O8 H8, A9 O9 H9,
    A10 O10 H10, A11 O11 H11);
own_arguments!(A1 O1 H1, A2 O2 H2, A3 O3 H3, A4 O4 H4, A5 O5 H5, A6 O6 H6, A7 O7 H7, A8 O8 H8, A9 O9 H9,
    A10 O10 H10, A11 O11 H11, A12 O12 H12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_becomes_what_the_method_owns() {
        let (name, numbers) = ("cup".to_owned(), vec![1, 2]);
        let arguments = (&name[..], &numbers[..], &name, 7_u8, (1, 2));
        let owned: (String, Vec<i32>, String, u8, (i32, i32)) = OwnArguments::own(arguments);
        assert_eq!(owned, (name.clone(), numbers.clone(), name.clone(), 7, (1, 2)));
        let () = OwnArguments::<(), _>::own(());
    }
}
