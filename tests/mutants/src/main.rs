//! `decomcam-mutants DIRECTORY`: rewrites the Rust files in it in place so that operator number `DECOMCAM_MUTANT`, as the program finds it in its environment
//! when it starts, is exchanged for another one. One compilation serves all mutants. Prints a line for each: number, file, line, column, operator, and
//! the one that takes its place. Those in constants and `const fn`, which the environment cannot reach, have the number 0 and are left as they are.

use proc_macro2::Span;
use std::path::Path;
use std::{env, fs, io};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Expr, parse_quote, parse2};

fn main() -> io::Result<()> {
    let directory = env::args().nth(1).expect("a directory");
    let mut files: Vec<_> =
        fs::read_dir(&directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    let mut count = 0;
    for path in files {
        let mut file = syn::parse_file(&fs::read_to_string(&path)?).expect("a Rust file");
        let mut rewriter = Rewriter { name: name(&path), count, constant: 0 };
        rewriter.visit_file_mut(&mut file);
        count = rewriter.count;
        let mut text = quote::quote!(#file).to_string();
        if name(&path) == "lib.rs" {
            text.push_str(SWITCH);
        }
        fs::write(&path, text)?;
    }
    Ok(())
}

/// Read before `main`, so that nothing but a plain number is in the way of the loops.
const SWITCH: &str = r#"
extern crate std;
#[allow(unsafe_code, missing_docs)]
pub mod mutants {
    static mut ACTIVE: u32 = 0;
    #[used]
    #[unsafe(link_section = ".init_array")]
    static START: extern "C" fn() = start;
    extern "C" fn start() {
        let number = std::env::var("DECOMCAM_MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        unsafe { ACTIVE = number };
    }
    #[inline(always)]
    pub fn on(number: u32) -> bool {
        unsafe { ACTIVE == number }
    }
}
"#;

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

struct Rewriter {
    name: String,
    count: u32,
    /// How many constants deep.
    constant: u32,
}

impl Rewriter {
    /// The number of a new mutant; 0 in a constant.
    fn number(&mut self, span: Span, old: &str, new: &str) -> u32 {
        let number = if self.constant > 0 { 0 } else { self.count + 1 };
        self.count = self.count.max(number);
        let start = span.start();
        println!("{number}\t{}\t{}\t{}\t{old}\t{new}", self.name, start.line, start.column + 1);
        number
    }
}

fn other(op: &BinOp) -> Option<(&'static str, BinOp)> {
    Some(match op {
        BinOp::Lt(_) => ("<", parse_quote!(<=)),
        BinOp::Le(_) => ("<=", parse_quote!(<)),
        BinOp::Gt(_) => (">", parse_quote!(>=)),
        BinOp::Ge(_) => (">=", parse_quote!(>)),
        BinOp::Eq(_) => ("==", parse_quote!(!=)),
        BinOp::Ne(_) => ("!=", parse_quote!(==)),
        BinOp::Add(_) => ("+", parse_quote!(-)),
        BinOp::Sub(_) => ("-", parse_quote!(+)),
        BinOp::Mul(_) => ("*", parse_quote!(/)),
        BinOp::Div(_) => ("/", parse_quote!(*)),
        BinOp::And(_) => ("&&", parse_quote!(||)),
        BinOp::Or(_) => ("||", parse_quote!(&&)),
        BinOp::AddAssign(_) => ("+=", parse_quote!(-=)),
        BinOp::SubAssign(_) => ("-=", parse_quote!(+=)),
        BinOp::MulAssign(_) => ("*=", parse_quote!(/=)),
        BinOp::DivAssign(_) => ("/=", parse_quote!(*=)),
        _ => return None,
    })
}

fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl VisitMut for Rewriter {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Const(_) => return,
            Expr::Repeat(repeat) => {
                self.visit_expr_mut(&mut repeat.expr);
                return;
            }
            _ => visit_mut::visit_expr_mut(self, expr),
        }
        let text = |op: &BinOp| quote::quote!(#op).to_string();
        match expr {
            Expr::Binary(binary) if !has_let(&binary.left) && !has_let(&binary.right) => {
                let Some((old, new)) = other(&binary.op) else {
                    return;
                };
                let number = self.number(binary.op.span(), old, &text(&new));
                if number == 0 {
                    return;
                }
                let (left, op, right) = (&binary.left, &binary.op, &binary.right);
                let made = match op {
                    BinOp::And(_) | BinOp::Or(_) => quote::quote! {
                        ({ let l: bool = #left; if crate::mutants::on(#number) { l #new #right } else { l #op #right } })
                    },
                    BinOp::Eq(_) | BinOp::Ne(_) => {
                        quote::quote! { ((#left #op #right) != crate::mutants::on(#number)) }
                    }
                    BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => quote::quote! {
                        (match (&(#left), &(#right)) { (l, r) => if crate::mutants::on(#number) { l #new r } else { l #op r } })
                    },
                    BinOp::AddAssign(_) | BinOp::SubAssign(_) | BinOp::MulAssign(_) | BinOp::DivAssign(_) => {
                        quote::quote! {
                            ({ let r = #right; if crate::mutants::on(#number) { #left #new r } else { #left #op r } })
                        }
                    }
                    _ => quote::quote! {
                        (match (#left, #right) { (l, r) => if crate::mutants::on(#number) { l #new r } else { l #op r } })
                    },
                };
                *expr = parse2(made).expect("an expression");
            }
            Expr::Unary(unary) if !matches!(unary.op, syn::UnOp::Deref(_)) && !matches!(*unary.expr, Expr::Lit(_)) => {
                let op = &unary.op;
                let number = self.number(op.span(), &quote::quote!(#op).to_string(), "");
                if number > 0 {
                    let inner = &unary.expr;
                    *expr =
                        parse_quote!((match #op #inner { x => if crate::mutants::on(#number) { #op x } else { x } }));
                }
            }
            _ => (),
        }
    }

    fn visit_item_fn_mut(&mut self, item: &mut syn::ItemFn) {
        let constant = u32::from(item.sig.constness.is_some());
        self.constant += constant;
        visit_mut::visit_item_fn_mut(self, item);
        self.constant -= constant;
    }

    fn visit_impl_item_fn_mut(&mut self, item: &mut syn::ImplItemFn) {
        let constant = u32::from(item.sig.constness.is_some());
        self.constant += constant;
        visit_mut::visit_impl_item_fn_mut(self, item);
        self.constant -= constant;
    }

    fn visit_item_const_mut(&mut self, item: &mut syn::ItemConst) {
        self.constant += 1;
        visit_mut::visit_item_const_mut(self, item);
        self.constant -= 1;
    }

    fn visit_impl_item_const_mut(&mut self, item: &mut syn::ImplItemConst) {
        self.constant += 1;
        visit_mut::visit_impl_item_const_mut(self, item);
        self.constant -= 1;
    }

    fn visit_item_static_mut(&mut self, item: &mut syn::ItemStatic) {
        self.constant += 1;
        visit_mut::visit_item_static_mut(self, item);
        self.constant -= 1;
    }

    fn visit_variant_mut(&mut self, _: &mut syn::Variant) {}

    fn visit_type_mut(&mut self, _: &mut syn::Type) {}

    fn visit_generic_argument_mut(&mut self, _: &mut syn::GenericArgument) {}

    fn visit_pat_mut(&mut self, _: &mut syn::Pat) {}
}
